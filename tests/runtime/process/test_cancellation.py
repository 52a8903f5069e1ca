"""Calls that are cancelled, or whose deadline passes: soon, and without a trace in other calls."""

import itertools
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pcsr import Cancellation, CancelledError, PcsrError, Upscaler, UsageError
from pcsr.runtime.cpu import onnxruntime
from pcsr.runtime.process import cancellation as cancellation_module
from pcsr.runtime.process.cancellation import locked

BACKENDS = ["native", "onnxruntime", "torch"]
IMAGE = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
WAYS: list[dict[str, Any]] = [{}, {"adaptive": True}, {"heavy_ratio": 0.4}]


class Eager(Cancellation):
    """It is asked at each check, not every 10 ms."""

    @property
    def is_over(self) -> bool:
        self._ask_at_s = 0.0
        return super().is_over


def after(checks: int) -> Cancellation:
    """Ends a call at one of its checks."""
    count = itertools.count()
    return Eager(asked=lambda: next(count) >= checks)


def watchers() -> list[str]:
    """The threads that look whether a call is to end."""
    codes = [frame.f_code for frame in sys._current_frames().values()]
    return [code.co_name for code in codes if code.co_filename == cancellation_module.__file__]


def is_cancelled(upscaler: Upscaler, cancellation: Cancellation, **options: Any) -> bool:  # noqa: ANN401
    try:
        upscaler(IMAGE, cancellation=cancellation, **options)
    except CancelledError:
        return True
    return False


def test_what_it_says() -> None:
    cancellation = Cancellation()
    cancellation.check()
    cancellation.cancel()
    cancellation.cancel()
    with pytest.raises(CancelledError, match=r"^cancelled before the image was finished$"):
        cancellation.check()
    with pytest.raises(PcsrError, match=r"^the deadline of 0 s has passed before"):
        Cancellation(timeout_s=0).check()


@pytest.mark.parametrize(
    ("timeout_s", "said"),
    [(1e-3, "0.001 s"), (5e-4, "0.500 ms"), (1e-6, "0.001 ms"), (1e-300, "less than 0.001 ms")],
)
def test_short_deadlines_are_readable(timeout_s: float, said: str) -> None:
    cancellation = Cancellation(timeout_s=timeout_s)
    time.sleep(0.002)
    with pytest.raises(CancelledError, match=rf"^the deadline of {said} has passed before"):
        cancellation.check()


def test_the_deadline_counts_from_its_making_and_stays_passed() -> None:
    cancellation = Cancellation(timeout_s=0.02)
    cancellation.check()
    time.sleep(0.03)
    for _ in range(2):
        with pytest.raises(CancelledError, match=r"0\.02 s"):
            cancellation.check()


def test_what_asked_raises_the_call_raises(carn_like_bundle: Path) -> None:
    def broken() -> bool:
        raise OSError("the client's socket is gone")

    upscaler = Upscaler(carn_like_bundle, threads=1)
    with pytest.raises(OSError, match="socket is gone"):
        upscaler(IMAGE, cancellation=Cancellation(asked=broken))
    upscaler(IMAGE)


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), "1", True])
def test_timeouts_that_are_none(value: Any) -> None:  # noqa: ANN401
    with pytest.raises(UsageError, match="timeout_s must be a number of seconds from 0 on"):
        Cancellation(timeout_s=value)


def test_other_wrong_arguments(carn_like_bundle: Path) -> None:
    wrong: Any = 5
    with pytest.raises(UsageError, match="asked must be a function"):
        Cancellation(asked=wrong)
    upscaler = Upscaler(carn_like_bundle, threads=1)
    with pytest.raises(UsageError, match="cancellation must be a Cancellation, found 5"):
        upscaler(IMAGE, cancellation=wrong)
    with pytest.raises(UsageError, match="cancellation must be a Cancellation, found 5"):
        upscaler.stream(IMAGE, print, cancellation=wrong)


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_call_can_end_at_any_check(
    carn_like_bundle: Path, backend: str, way: dict[str, Any]
) -> None:
    upscaler = Upscaler(carn_like_bundle, backend=backend, threads=2, tile_px=32)
    expected = upscaler(IMAGE, **way)
    ended = [is_cancelled(upscaler, after(checks), **way) for checks in range(60)]
    assert ended[0]
    assert ended.count(True) > 5
    assert not is_cancelled(upscaler, Cancellation(timeout_s=100, asked=lambda: False), **way)
    assert np.array_equal(upscaler(IMAGE, **way).image, expected.image)


@pytest.mark.parametrize("backend", BACKENDS)
def test_plain_networks_and_alpha(plain_bundle: Path, carn_like_bundle: Path, backend: str) -> None:
    rgba = np.dstack([IMAGE, IMAGE[..., :1]])
    for bundle, image in ((plain_bundle, IMAGE), (carn_like_bundle, rgba)):
        upscaler = Upscaler(bundle, backend=backend, threads=2)
        expected = upscaler(image).image
        for checks in (0, 2, 4):
            with pytest.raises(CancelledError):
                upscaler(image, cancellation=after(checks))
        assert np.array_equal(upscaler(image).image, expected)


@pytest.mark.parametrize("backend", ["native", "onnxruntime"])
def test_a_graph_is_stopped_in_its_middle(
    carn_like_bundle: Path, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What ONNX Runtime is in the middle of ends between two operators, and only that run."""
    upscaler = Upscaler(carn_like_bundle, backend=backend, threads=1, tile_px=2000)
    image = np.zeros((500, 600, 3), np.uint8)
    expected, cancellation, said = upscaler(image).image, Cancellation(), list[str]()
    session = _session(upscaler)

    class Begun:
        io_binding = session.io_binding

        def run_with_iobinding(self, binding: Any, options: Any) -> None:  # noqa: ANN401
            if options is not shared:
                cancellation.cancel()
                while not options.terminate:
                    time.sleep(0.001)
            try:
                session.run_with_iobinding(binding, options)
            except Exception as error:
                said.append(str(error))
                raise

    runner = _runner(upscaler)
    shared = runner._options
    monkeypatch.setitem(runner._sessions, "backbone", Begun())
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(lambda: upscaler(image).image)
        with pytest.raises(CancelledError):
            upscaler(image, cancellation=cancellation)
        assert np.array_equal(other.result(), expected)
    assert len(said) == 1
    assert "terminate flag" in said[0]
    assert np.array_equal(upscaler(image).image, expected)


def _runner(upscaler: Upscaler) -> onnxruntime.OnnxRuntimeRunner:
    with upscaler._open.used() as now:
        executor: Any = now.executor
    runner: onnxruntime.OnnxRuntimeRunner = executor._pipeline._runner._runner
    return runner


def _session(upscaler: Upscaler) -> Any:  # noqa: ANN401
    return _runner(upscaler)._sessions["backbone"]


@pytest.mark.parametrize("backend", ["native", "torch"])
def test_a_stream_ends_after_whole_rows(carn_like_bundle: Path, backend: str) -> None:
    upscaler = Upscaler(carn_like_bundle, backend=backend, threads=2, tile_px=32)
    tall = np.random.default_rng(1).integers(0, 256, (300, 20, 3), np.uint8)
    expected, cancellation = upscaler(tall).image, Cancellation()
    parts: list[NDArray[Any]] = []

    def take(rows: NDArray[Any]) -> None:
        parts.append(rows.copy())
        cancellation.cancel()

    if backend == "torch":  # one band, whose rows are handed on last
        upscaler.stream(tall, take, cancellation=cancellation)
    else:
        with pytest.raises(CancelledError):
            upscaler.stream(tall, take, cancellation=cancellation)
        assert len(parts) == 1
        assert len(parts[0]) < len(expected)
    assert np.array_equal(np.concatenate(parts), expected[: sum(map(len, parts))])


@pytest.mark.parametrize("backend", BACKENDS)
def test_others_are_not_disturbed(carn_like_bundle: Path, backend: str) -> None:
    upscaler = Upscaler(carn_like_bundle, backend=backend, threads=2, tile_px=32)
    expected = upscaler(IMAGE, adaptive=True).image
    stop = threading.Event()

    def cancels() -> int:
        ended = 0
        for checks in itertools.cycle(range(40)):
            if stop.is_set():
                return ended
            ended += is_cancelled(upscaler, after(checks), adaptive=True)
        raise AssertionError

    with ThreadPoolExecutor(2) as pool:
        others = [pool.submit(cancels) for _ in range(2)]
        for _ in range(20):
            assert np.array_equal(upscaler(IMAGE, adaptive=True).image, expected)
        stop.set()
        assert all(other.result() > 0 for other in others)


def test_a_signal_handler_may_cancel(carn_like_bundle: Path) -> None:
    upscaler = Upscaler(carn_like_bundle, threads=1, tile_px=32)
    image = np.zeros((2000, 1000, 3), np.uint8)
    cancellation = Cancellation(timeout_s=60)
    before = signal.signal(signal.SIGALRM, lambda *_: cancellation.cancel())
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(CancelledError, match=r"^cancelled"):
            upscaler(image, cancellation=cancellation)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_who_waits_for_a_lock_may_be_cancelled() -> None:
    lock = threading.Lock()
    with lock, pytest.raises(CancelledError), locked(lock, Cancellation(timeout_s=0.02)):
        raise AssertionError
    for cancellation in (None, Cancellation()):
        with locked(lock, cancellation):
            assert lock.locked()
        assert not lock.locked()


def test_threads_end_with_their_calls(carn_like_bundle: Path) -> None:
    upscaler = Upscaler(carn_like_bundle, threads=1)
    for checks in (0, 3, 10**9):
        is_cancelled(upscaler, after(checks))
    assert not watchers()
