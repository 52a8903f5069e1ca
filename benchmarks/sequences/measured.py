"""Times frames of a sequence and the same frames alone in turn."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.image import Size, sample_image
from pcsr import Result, Upscaler

MODES: Mapping[str, dict[str, Any]] = {"k = 0": {"k": 0.0}, "ADM": {"adaptive": True}}
CASES = {"0 %": (0.0, 1), "0.5 %": (0.005, 1), "5 %": (0.05, 1), "5 %, in two corners": (0.05, 2)}
CASES |= {"50 %": (0.5, 1), "100 %": (1.0, 1)}
"""The share of a frame that changes, and in how many rectangles."""

Image = NDArray[np.uint8]
Seconds = tuple[float, float]
"""Of wall and of CPU time."""


def changed(first: Image, other: Image, share: float, rectangles: int) -> Image:
    """Puts a part of another image [h, w, 3] into a copy of the first one: a rectangle in the
    middle, or two of them in opposite corners.
    """
    after = first.copy()
    height, width = (round(length * (share / rectangles) ** 0.5) for length in first.shape[:2])
    down, right = first.shape[0] - height, first.shape[1] - width
    places = [(down // 2, right // 2)] if rectangles == 1 else [(0, 0), (down, right)]
    for top, left in places:
        window = slice(top, top + height), slice(left, left + width)
        after[window] = other[window]
    return after


def measured(
    bundle: str, size: Size, threads: int, rounds: int, options: Mapping[str, Any]
) -> list[list[str]]:
    """Measures a bundle with frames of (height, width): a row for each of CASES.

    Raises:
        SystemExit: a frame of the sequence is not that of the frame alone.
    """
    first = sample_image(size)
    other = np.ascontiguousarray(first[::-1, ::-1])
    with Upscaler(bundle, backend="native", threads=threads) as upscaler:

        def alone(frame: Image) -> Result:
            return upscaler(frame, **options)

        return [
            _row(name, alone, upscaler, [first, changed(first, other, *case)], rounds, options)
            for name, case in CASES.items()
        ]


def _row(
    name: str,
    alone: Callable[[Image], Result],
    upscaler: Upscaler,
    frames: list[Image],
    rounds: int,
    options: Mapping[str, Any],
) -> list[str]:
    found: dict[str, list[Seconds]] = {"alone": [], "sequence": []}
    with upscaler.sequence(**options) as sequence:
        sequence(frames[0])
        for index in range(-1, rounds):
            for frame in frames[::-1]:
                expected, took = _timed(alone, frame)
                result, took_next = _timed(sequence, frame)
                if not np.array_equal(result.image, expected.image):
                    raise SystemExit("the sequence computes another image than the call")
                if index >= 0:
                    found["alone"].append(took)
                    found["sequence"].append(took_next)
        reused = result.stats.reused_share
    whole, part = (np.min(times, axis=0) for times in found.values())
    shares = [f"{share:.3f}" for share in part / whole]
    return [name, f"{1e3 * whole[0]:.0f}", f"{1e3 * part[0]:.1f}", *shares, f"{reused:.3f}"]


def _timed(call: Callable[[Image], Result], frame: Image) -> tuple[Result, Seconds]:
    start = time.perf_counter(), time.process_time()
    result = call(frame)
    wall, cpu = time.perf_counter() - start[0], time.process_time() - start[1]
    return result, (wall, cpu)
