"""Pixels by difficulty, on the emulated GPU, are those that NumPy counts."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pcsr.runtime.kernels.cuda import difficulty_histogram as room

from .emulated import EmulatedKernel

SOURCE = Path(room.__file__).with_suffix(".cu")
BINS = 2**16
Floats = NDArray[np.float32]


def difficulty_logits(logits: Floats) -> NDArray[np.float64]:
    values = logits.astype(np.float64)
    if len(values) == 1:
        return np.asarray(values[0])
    heavy = (len(values) + 1) // 2
    heavier, lighter = (np.log(np.exp(part).sum(0)) for part in (values[:heavy], values[heavy:]))
    return np.asarray(heavier - lighter)


def keys(values: Floats) -> NDArray[np.int32]:
    bits = values.view(np.int32)
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


def emulated(logits: Floats, upsamplers: int, blocks: int = 4) -> NDArray[np.int32]:
    values = difficulty_logits(logits).astype(np.float32)
    extremes = np.full((2, 5), keys(values[:1])[0], np.int32)
    extremes[0, 3], extremes[1, 4] = keys(values).min(), keys(values).max()
    table = np.zeros(BINS, np.int32)
    defines = {"UPSAMPLERS": upsamplers}
    kernel = EmulatedKernel(SOURCE, "difficulty_histogram", defines, checked=False)
    grid, pixels = (blocks, 1, 1), logits.shape[1]
    arguments = (logits, extremes, table, pixels, extremes.shape[1])
    found: NDArray[np.int32] = kernel.launch(grid, room.THREADS, room.SHARED_BYTES, *arguments)[-1]
    return found


@pytest.mark.parametrize(("upsamplers", "pixels"), [(2, 9001), (3, 5000), (2, 1)])
def test_all_pixels_are_counted_in_their_bins(upsamplers: int, pixels: int) -> None:
    random = np.random.default_rng(0)
    shape = (1 if upsamplers == 2 else upsamplers, pixels)
    logits = random.normal(-2, 3, shape).astype(np.float32)
    found = emulated(logits, upsamplers)
    assert found.sum() == pixels
    difficulty = 1 / (1 + np.exp(-difficulty_logits(logits)))
    low, high = difficulty.min(), difficulty.max()
    places = np.clip((difficulty - low) / max(high - low, 1e-30) * BINS, 0, BINS - 1)
    expected = np.bincount(places.astype(np.int64), minlength=BINS)
    # float32 moves a few values to the next bin
    assert np.abs(np.cumsum(found) - np.cumsum(expected)).max() <= max(1, pixels // 500)


def test_a_flat_image_and_one_that_is_no_number_are_in_the_first_bin() -> None:
    for value in (0.25, np.nan):
        found = emulated(np.full((1, 3000), value, np.float32), 2)
        assert found[0] == 3000
