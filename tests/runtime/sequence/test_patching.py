"""Results are patched in place while nobody holds them, and stay what they were while anybody
does.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pcsr import BackendError, Result, Upscaler
from pcsr.runtime.sequence.made import covered
from tests import checkpoints
from tests.exports import Exports

from .clips import SHAPE, assert_same, changed, shares, still

Clip = list[np.ndarray[Any, Any]]
SHAPES = {"small": SHAPE, "large": (120, 160, 3), "gray": (61, 83), "alpha": (61, 83, 4)}
OPTIONS: dict[str, dict[str, Any]] = {"k": {"k": 0.3}, "adaptive": {"adaptive": True}}


@pytest.fixture(scope="module")
def upscaler(exports: Exports) -> Iterator[Upscaler]:
    with Upscaler(exports.of(checkpoints.tiny("fsrcnn", 2)), threads=2) as opened:
        yield opened


def _clip(shape: tuple[int, ...], count: int = 10) -> Clip:
    frame = still(shape)
    clip = [frame]
    for n in range(1, count):
        top, left = 5 * n % (shape[0] - 9), 7 * n % (shape[1] - 9)
        frame = changed(frame, slice(top, top + 4), slice(left, left + 9), n)
        clip.append(frame)
    return clip


@pytest.mark.parametrize("held", [0, 1, 2, 3, 9])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_results_that_are_held(
    upscaler: Upscaler, shape: tuple[int, ...], options: dict[str, Any], held: int
) -> None:
    """Whatever number of the last results a caller holds, and a frame without change between."""
    clip = _clip(shape)
    clip.insert(5, clip[4])
    expected = [upscaler(frame, **options) for frame in clip]
    results: list[Result] = []
    with upscaler.sequence(**options) as frames:
        for n, frame in enumerate(clip):
            del results[: max(0, len(results) - held)]
            results.append(frames(frame))
            for found, alone in zip(results[::-1], expected[n::-1], strict=False):
                assert_same(found, alone)


HOLDERS: dict[str, Callable[[Result], Any]] = {
    "image": lambda result: result.image,
    "assignment": lambda result: result.assignment,
    "difficulty": lambda result: result.difficulty,
    "view": lambda result: result.image[3:9, ::2].T,
    "buffer": lambda result: result.image.data,
    "through a buffer": lambda result: np.frombuffer(result.image.data.cast("B"), "u1"),
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("hold", HOLDERS.values(), ids=HOLDERS)
def test_parts_that_are_held(
    upscaler: Upscaler, hold: Callable[[Result], Any], options: dict[str, Any]
) -> None:
    first, *clip = _clip(SHAPES["large"])
    with upscaler.sequence(**options) as frames:
        frames(first)
        parts = []
        for frame in clip:
            part = hold(frames(frame))
            parts.append((part, bytes(np.ascontiguousarray(part))))
        for part, content in parts:
            assert bytes(np.ascontiguousarray(part)) == content


def test_nothing_is_copied_that_nobody_holds(upscaler: Upscaler) -> None:
    first, *clip = _clip(SHAPES["large"])
    with upscaler.sequence(k=0.3) as frames:
        frames(first)
        places = {frames(frame).image.ctypes.data for frame in clip}
        assert len(places) == 1
        places, result = set(), None
        for frame in clip:
            result = frames(frame)  # the one before is held until it is assigned
            places.add(result.image.ctypes.data)
        assert len(places) <= 2


def test_covered() -> None:
    random = np.random.default_rng(0)
    for count in range(6):
        windows, mask = [], np.zeros((20, 30), dtype=np.bool_)
        for _ in range(count):
            top, left = int(random.integers(15)), int(random.integers(25))
            windows.append((slice(top, top + 5), slice(left, left + int(random.integers(1, 6)))))
            mask[windows[-1]] = True
        assert covered(windows) == np.count_nonzero(mask)


def test_bf16(three_way_bundle: Path) -> None:
    """Where the processor has the instruction."""
    try:
        opened = Upscaler(three_way_bundle, threads=2, precision="bf16")
    except BackendError as error:
        pytest.skip(str(error))
    with opened:
        for options in OPTIONS.values():
            found = shares(opened, _clip((80, 120, 3), 4), **options)
            assert found[0] == 0
