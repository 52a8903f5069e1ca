"""Frames that a device or PyTorch computes: only those that equal the one before are reused."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcsr.runtime.executor import Executor
from pcsr.runtime.process.cancellation import Cancellation
from pcsr.runtime.result import FetchedResult, Result, Stats
from pcsr.runtime.routing.feedback import Ready

from .calls import Call
from .changes import changed_blocks, mixed
from .made import read_only

Pixels = NDArray[Any]


@dataclass(frozen=True)
class _Memory:
    """The frame before."""

    call: Call
    frame: Pixels
    result: Result


class WholeSequence:
    """Computes frames with any executor. `advance` is as of `PictureSequence`, with a result."""

    def __init__(self, executor: Executor, within: float) -> None:
        self._executor, self._within = executor, within
        self._memory: _Memory | None = None

    def advance(
        self,
        pixels: Pixels,
        call: Call,
        took: Callable[[Ready], None] | None,
        cancellation: Cancellation | None,
    ) -> Result:
        start, frame = perf_counter(), np.array(pixels, order="C")
        memory, self._memory = self._memory, None
        if memory is not None and memory.call == call and _alike(memory.frame, frame):
            blocks = changed_blocks(memory.frame, frame, self._within)
            if not blocks.any():
                self._memory = memory
                return _again(memory.result, 1000 * (perf_counter() - start))
            if self._within > 0:
                frame = mixed(memory.frame, frame, blocks)
        given = (frame, call.scale, call.request, took)
        result = _read_only(self._executor(*given, cancellation=cancellation))
        self._memory = _Memory(call, frame, result)
        return result


def _alike(before: Pixels, frame: Pixels) -> bool:
    return before.shape == frame.shape and before.dtype == frame.dtype


def _read_only(result: Result) -> Result:
    return _with(result, result.measured)


def _again(result: Result, took_ms: float) -> Result:
    """Gives the same result, with the figures of a frame that was not computed."""

    def measured() -> Stats:
        times = {"compare": took_ms}
        return replace(result.stats, stage_ms=times, total_ms=took_ms, reused_share=1.0)

    return _with(result, measured)


def _with(result: Result, measured: Stats | Callable[[], Stats]) -> Result:
    def fetch(name: str) -> Any:  # noqa: ANN401
        found = getattr(result, name)
        return None if found is None else read_only(found)

    return FetchedResult.of(read_only(result.image), fetch, measured, result.upsamplers)
