"""What others raise in the middle of a call, its signal handlers and `asked`, the call raises."""

import asyncio
import contextlib
import copy
import functools
import gc
import pickle
import re
import signal
import threading
import time
import weakref
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pcsr import Cancellation, CancelledError, ImageError, Upscaler, UsageError
from tests.runtime.process.test_cancellation import watchers

IMAGE = np.zeros((60, 80, 3), np.uint8)
LARGE = np.zeros((900, 900, 3), np.uint8)


class SoftTimeLimit(Exception):
    """As Celery's, without a message."""


def raised_by_a_handler(error: BaseException, call: Callable[[], Any], after_s: float) -> None:
    """Makes a call in which a signal handler raises. Python drops what is raised while the garbage
    collector calls somebody back, as it does Hypothesis: the handler then raises again.
    """

    def handler(*_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 1)
        raise error

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, after_s)
        call()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("backend", ["native", "onnxruntime"])
@pytest.mark.parametrize("error", [TimeoutError("soft limit"), SoftTimeLimit()], ids=repr)
@pytest.mark.parametrize("cancellation", [None, Cancellation()], ids=["plain", "cancellation"])
def test_what_a_signal_handler_raises(
    carn_like_bundle: Path, backend: str, error: Exception, cancellation: Cancellation | None
) -> None:
    upscaler = Upscaler(carn_like_bundle, backend=backend, threads=1, tile_px=2000)
    upscaler(IMAGE)
    with pytest.raises(type(error)) as found:
        raised_by_a_handler(error, lambda: upscaler(LARGE, cancellation=cancellation), 0.05)
    assert found.value is error


@pytest.mark.parametrize("message", ["", "no\nmore"])
def test_what_onnx_runtime_raises_may_have_any_message(
    carn_like_bundle: Path, monkeypatch: pytest.MonkeyPatch, message: str
) -> None:
    upscaler = Upscaler(carn_like_bundle, backend="onnxruntime", threads=1)
    with upscaler._open.used() as now:
        executor: Any = now.executor
    sessions = executor._pipeline._runner._runner._sessions

    class Broken:
        io_binding = sessions["backbone"].io_binding

        def run_with_iobinding(self, *_: object) -> None:
            raise RuntimeError(message)

    monkeypatch.setitem(sessions, "backbone", Broken())
    with pytest.raises(ImageError, match=f"this image: {message[:2] or 'RuntimeError'}; try"):
        upscaler(IMAGE)


def test_no_watcher_outlives_what_a_signal_handler_raises() -> None:
    cancellation, bodies = Cancellation(), [0]

    def watch() -> None:
        while True:
            with cancellation.watched(lambda: None):
                bodies[0] += 1

    for number in range(300):
        with pytest.raises(SoftTimeLimit):
            raised_by_a_handler(SoftTimeLimit(), watch, 1e-4 + 1e-5 * number)
    assert bodies[0] > 300
    gc.collect()  # the last error and its frames, which hold the body's context, are a cycle
    deadline = time.monotonic() + 10
    while watchers() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not watchers()


def test_a_watcher_is_seen() -> None:
    with Cancellation().watched(lambda: None):
        deadline = time.monotonic() + 10
        while not watchers() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert watchers() == ["watch"]
    assert not watchers()


@pytest.mark.parametrize(
    "kind", [KeyboardInterrupt, SystemExit, asyncio.CancelledError, GeneratorExit]
)
@pytest.mark.parametrize("backend", ["native", "onnxruntime", "torch"])
def test_any_error_of_asked(
    carn_like_bundle: Path, backend: str, kind: type[BaseException]
) -> None:
    def asked() -> bool:
        raise kind("gone")

    upscaler = Upscaler(carn_like_bundle, backend=backend, threads=2)
    with pytest.raises(kind, match="gone"):
        upscaler(IMAGE, cancellation=Cancellation(asked=asked))


def test_what_asked_raises_in_the_watcher_is_not_lost() -> None:
    def asked() -> bool:
        if threading.current_thread() is not threading.main_thread():
            raise KeyboardInterrupt("gone")
        return False

    cancellation, stopped = Cancellation(asked=asked), threading.Event()
    with cancellation.watched(stopped.set):
        assert stopped.wait(10)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt, match="gone"):
            cancellation.check()


def test_the_end_of_an_iterator_does_not_end_loops(carn_like_bundle: Path) -> None:
    answers = iter([False])
    cancellation = Cancellation(asked=lambda: next(answers))
    cancellation.check()
    time.sleep(0.02)
    with pytest.raises(RuntimeError, match=r"^asked raised StopIteration$"):
        Upscaler(carn_like_bundle, threads=1)(IMAGE, cancellation=cancellation)


class Foreign(Exception):
    """It cannot be copied."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(first + second)


@pytest.mark.parametrize("error", [ConnectionResetError(104, "gone"), Foreign("go", "ne")])
def test_an_error_does_not_grow(error: Exception) -> None:
    def asked() -> bool:
        raise error

    cancellation = Cancellation(asked=asked)
    frames = [_frames(cancellation, str(error)) for _ in range(5)]
    assert len({*frames[1:]}) == 1


def _frames(cancellation: Cancellation, message: str) -> int:
    with pytest.raises(Exception, match=re.escape(message)) as found:
        cancellation.check()
    return len(found.traceback)


def test_a_kept_error_holds_no_call() -> None:
    def asked() -> bool:
        raise ConnectionResetError("gone")

    def call() -> "weakref.ref[Any]":
        image = np.zeros(9)
        with contextlib.suppress(ConnectionResetError):
            cancellation.check()
        return weakref.ref(image)

    cancellation = Cancellation(asked=asked)
    assert [call()() for _ in range(3)] == [None] * 3


async def answer() -> bool:
    return False


class Asks:
    async def __call__(self) -> bool:
        return False


@pytest.mark.parametrize(
    "asked", [answer, functools.partial(answer), Asks()], ids=["function", "partial", "object"]
)
def test_coroutine_functions_are_refused(asked: Any) -> None:  # noqa: ANN401
    with pytest.raises(UsageError, match="asked must be a function that answers at once"):
        Cancellation(asked=asked)


@pytest.mark.filterwarnings("error")
def test_an_awaitable_is_no_answer() -> None:
    cancellation: Any = Cancellation(asked=lambda: answer())  # type: ignore[arg-type,return-value]
    for _ in range(2):
        with pytest.raises(UsageError, match="found one that gives an awaitable"):
            cancellation.check()


@pytest.mark.parametrize("way", [pickle.dumps, copy.copy, copy.deepcopy])
def test_it_is_not_pickled(way: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError, match=r"^a Cancellation cannot be pickled or copied: .* there$"):
        way(Cancellation())


def test_numbers_of_other_kinds() -> None:
    late = Cancellation(timeout_s=Fraction(1, 1000))  # type: ignore[arg-type]
    time.sleep(0.01)
    with pytest.raises(CancelledError, match=r"^the deadline of 0\.001 s has passed"):
        late.check()
    for wrong in (10**400, Fraction(10**400)):
        with pytest.raises(UsageError, match=r"^timeout_s must be a number .*, or None, found "):
            Cancellation(timeout_s=wrong)  # type: ignore[arg-type]


def test_classes_have_their_article(carn_like_bundle: Path) -> None:
    wrong: Any = threading.Event()
    upscaler = Upscaler(carn_like_bundle, threads=1)
    with pytest.raises(UsageError, match=r"^cancellation must be a Cancellation, found an Event$"):
        upscaler(IMAGE, cancellation=wrong)


def test_a_warm_up_ends_too(carn_like_bundle: Path) -> None:
    late = Cancellation(timeout_s=0)
    with pytest.raises(CancelledError, match=r"^the deadline of 0 s has passed"):
        Upscaler(carn_like_bundle, threads=1).warmup((40, 30), cancellation=late)
