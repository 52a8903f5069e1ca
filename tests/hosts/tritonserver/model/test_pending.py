"""How many requests are there and at work at once, and what happens to them."""

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pcsr import Upscaler
from pcsr.images import Picture, write_bytes
from tests.hosts.tritonserver.stand_in import Sender, TritonModelException, load

IMAGE = np.zeros((6, 8, 3), np.uint8)
PNG = write_bytes(Picture(IMAGE), ".png")


class Held:
    """Keeps computations from going on until they are let."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go, self.at_work = threading.Event(), threading.Semaphore(0)
        run = Upscaler.run

        def held(*args: Any, **more: Any) -> Any:  # noqa: ANN401
            self.at_work.release()
            assert self.go.wait(60)
            return run(*args, **more)

        monkeypatch.setattr(Upscaler, "run", held)

    def one_is_at_work(self) -> None:
        assert self.at_work.acquire(timeout=60)


def test_too_many_requests_are_refused(
    three_way_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(monkeypatch)
    found = load(three_way_bundle, tmp_path / "m", max_pending=2, concurrency=1)
    senders = [found.send({"IMAGE": IMAGE}), found.send({"IMAGE": IMAGE})]
    assert found.refusal({"IMAGE": IMAGE}) == (
        "UNAVAILABLE",
        "2 requests are pending already; try again later",
    )
    held.go.set()
    assert all(sender.response().error is None for sender in senders)
    found.model.finalize()
    assert found.metrics.values["pcsr_requests_total", "refused"] == 1
    assert found.metrics.values["pcsr_requests_total", "ok"] == 2


def test_whoever_is_answered_may_send_the_next_at_once(
    three_way_bundle: Path, tmp_path: Path
) -> None:
    found = load(three_way_bundle, tmp_path / "m", max_pending=1)
    for _ in range(30):
        assert "RESULT" in found.answer({"IMAGE": IMAGE})
        assert found.refusal({"IMAGE": IMAGE, "SCALE": 0.5})[0] == "INVALID_ARG"
        assert found.refusal({"ENCODED": b"no image"})[0] == "INVALID_ARG"
    found.model.finalize()


def test_requests_that_hold_too_much_are_refused_but_one_alone(
    three_way_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(monkeypatch)
    found = load(three_way_bundle, tmp_path / "m", max_pending_mib=1)
    large = np.zeros((700, 600, 3), np.uint8)  # 1.2 MiB
    alone = found.send({"IMAGE": large, "SCALE": 1.0}, "HEAVY_SHARE")
    code, text = found.refusal({"IMAGE": IMAGE})
    assert (code, text) == (
        "UNAVAILABLE",
        "1 pending requests hold 1260000 bytes of images, and this one's 144 are too many; try "
        "again later",
    )
    held.go.set()
    assert alone.response().error is None
    found.model.finalize()


def test_requests_are_decoded_while_another_is_computed(
    three_way_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(monkeypatch)
    found = load(three_way_bundle, tmp_path / "m", concurrency=3)
    first, second = found.send({"IMAGE": IMAGE}), found.send({"ENCODED": PNG})
    held.one_is_at_work()
    code, _ = found.refusal({"ENCODED": b"no image"})
    assert code == "INVALID_ARG"
    assert not held.at_work.acquire(timeout=0.2), "two compute at once"
    held.go.set()
    assert first.response().error is second.response().error is None
    found.model.finalize()


def test_finalize_answers_what_is_there(three_way_bundle: Path, tmp_path: Path) -> None:
    found = load(three_way_bundle, tmp_path / "m", concurrency=2)
    senders = [found.send({"IMAGE": IMAGE}) for _ in range(6)]
    found.model.finalize()
    assert all(sender.response().error is None for sender in senders)


def test_a_client_that_cannot_be_answered_harms_nobody(
    three_way_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = load(three_way_bundle, tmp_path / "m")

    def gone(*_: Any, **__: Any) -> None:  # noqa: ANN401
        raise TritonModelException("the client is gone")

    with monkeypatch.context() as patched:
        patched.setattr(Sender, "send", gone)
        found.send({"IMAGE": IMAGE})
        deadline = time.monotonic() + 60
        while found.log.lines[-1][0] != "error" and time.monotonic() < deadline:
            time.sleep(0.01)
        found.model.finalize()
    assert found.log.lines[-1] == ("error", "pcsr: cannot answer a request: the client is gone")


def test_a_cancelled_request_ends(three_way_bundle: Path, tmp_path: Path) -> None:
    found = load(three_way_bundle, tmp_path / "m", concurrency=1)
    large = np.zeros((1500, 1500, 3), np.uint8)  # seconds
    at_work = found.send({"IMAGE": large}, "HEAVY_SHARE")
    waits = found.send({"IMAGE": IMAGE}, "HEAVY_SHARE")
    time.sleep(0.2)
    waits.cancelled = at_work.cancelled = True
    for sender in (at_work, waits):
        error = sender.response().error
        assert error is not None
        assert (error.code, error.message) == (
            "CANCELLED",
            "cancelled before the image was finished",
        )
    assert "HEAVY_SHARE" in found.answer({"IMAGE": IMAGE})
    found.model.finalize()
    assert found.metrics.values["pcsr_requests_total", "cancelled"] == 2


@pytest.mark.parametrize(
    ("inputs", "settings", "timeout_us", "deadline"),
    [
        ({"TIMEOUT_MS": 100.0}, {"timeout_ms": 9e6}, 0, "0.1 s"),
        ({"TIMEOUT_MS": 0.001}, {}, 0, "0.001 ms"),
        ({"TIMEOUT_MS": 9e6}, {}, 150_000, "0.15 s"),
        ({}, {"timeout_ms": 120}, 0, "0.12 s"),
    ],
)
def test_a_deadline_ends_a_request(
    inputs: dict[str, Any],
    settings: dict[str, Any],
    timeout_us: int,
    deadline: str,
    three_way_bundle: Path,
    tmp_path: Path,
) -> None:
    found = load(three_way_bundle, tmp_path / "m", **settings)
    given = {"IMAGE": np.zeros((1500, 1500, 3), np.uint8), **inputs}
    assert found.refusal(given, "HEAVY_SHARE", timeout_us=timeout_us) == (
        "CANCELLED",
        f"the deadline of {deadline} has passed before the image was finished",
    )
    found.model.finalize()
