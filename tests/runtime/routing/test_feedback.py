"""Feedback from measured to predicted times."""

import threading

import pytest

from pcsr.runtime.routing.feedback import BOUNDS, REMEMBERED, SETTLING, Feedback


def fed(*ratios: float, settle: bool = True) -> Feedback:
    feedback = Feedback()
    for ratio in ((99.0,) * SETTLING if settle else ()) + ratios:
        feedback.expect("shape", 10.0, lambda ratio=ratio: 10.0 * ratio)  # type: ignore[misc]
    return feedback


def test_nothing_is_learnt_from_frames_that_settle() -> None:
    assert fed().factor == 1.0
    assert not fed().has_learnt
    assert fed(3.0).factor == 3.0
    assert fed(3.0).has_learnt


def test_one_outlier_does_not_count() -> None:
    assert fed(1.1, 1.0, 50.0, 1.2, 1.1).factor == 1.1


def test_a_slower_machine_is_noticed_within_three_frames() -> None:
    assert fed(*[1.0] * REMEMBERED, 2.0, 2.0, 2.0).factor == 2.0


def test_the_factor_is_bounded() -> None:
    assert fed(1e6).factor == BOUNDS[1]
    assert fed(1e-6).factor == BOUNDS[0]


def test_unfinished_frames_are_asked_again_and_never_awaited() -> None:
    feedback, finished = fed(), list[float]()
    feedback.expect("shape", 10.0, lambda: finished[0] if finished else None)
    assert feedback.factor == 1.0
    assert not feedback.has_learnt
    finished.append(40.0)
    assert feedback.factor == 4.0


def test_another_shape_settles_anew() -> None:
    feedback = fed(2.0)
    for _ in range(SETTLING):
        feedback.expect("another", 10.0, lambda: 9999.0)
    assert feedback.factor == 2.0


def test_threads_may_share_it() -> None:
    feedback = fed()

    def work() -> None:
        for _ in range(200):
            feedback.expect("shape", 10.0, lambda: 30.0)
            assert feedback.factor in (1.0, 3.0)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert feedback.factor == pytest.approx(3.0)
