"""Refinement and conversion on the device against loops and NumPy."""

import importlib
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pcsr.runtime.geometry.grid import Floats
from pcsr.runtime.kernels import finish
from pcsr.runtime.layout import to_dtype
from tests import tolerances
from tests.runtime import reference
from tests.runtime.networks import Labels, Size

from .scenes import tensor

SIZES = [(1, 1), (1, 7), (7, 1), (2, 2), (3, 3), (9, 13), (4, 130)]
PEAK = {"uint8": 255, "uint16": 65535, "float32": 1}
each_dtype = pytest.mark.parametrize("dtype", list(PEAK))


def _random(size: Size, count: int = 2) -> tuple[Floats, Labels]:
    random = np.random.default_rng((count, *size))
    image = random.uniform(-0.1, 1.1, (*size, 3)).astype(np.float32)
    return image, random.integers(0, count, size, dtype=np.uint8)


def _finished(
    image: Floats,
    labels: Labels,
    refine_below: int = 1,
    dtype: str = "float32",
    rows: tuple[int, int] | None = None,
    frame: tuple[int, int] | None = None,
) -> NDArray[Any]:
    """frame: output row of the first, height of the image."""
    begin, end = rows or (0, len(image))
    first, height = frame or (0, len(image))
    out = torch.empty((end - begin, image.shape[1], 3), dtype=getattr(torch, dtype))
    flat = torch.from_numpy(np.ascontiguousarray(labels).ravel())
    invalid = torch.zeros(1, dtype=torch.int32)
    finish(tensor(image), flat, (begin, end), first, height, refine_below, out, invalid)
    assert (invalid.item() > 0) == (not np.isfinite(image[begin:end]).all())
    found: NDArray[Any] = out.numpy()
    return found


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("count", "refine_below"), [(1, 1), (2, 1), (3, 2), (5, 3)])
def test_refinement_is_that_of_a_double_loop(size: Size, count: int, refine_below: int) -> None:
    image, labels = _random(size, count)
    expected = reference.refine(image, labels < refine_below)
    assert np.abs(_finished(image, labels, refine_below) - expected).max() <= tolerances.REFINED


@each_dtype
def test_refined_values_are_rounded_once(dtype: str) -> None:
    image, labels = _random((9, 13))
    exact = reference.refine(image, labels == 0)
    exact = exact if dtype == "float32" else exact.clip(0, 1) * PEAK[dtype]
    assert np.abs(_finished(image, labels, 1, dtype) - exact).max() <= tolerances.ROUNDED[dtype]


@each_dtype
def test_nothing_is_refined_where_all_are_alike_or_it_is_not_asked_for(dtype: str) -> None:
    image, labels = _random((6, 9))
    expected = to_dtype(image.copy(), np.dtype(dtype))
    assert np.array_equal(_finished(image, labels, 0, dtype), expected)
    for label in (0, 1):
        alike = np.full((6, 9), label, dtype=np.uint8)
        assert np.array_equal(_finished(image, alike, 1, dtype), expected)


@each_dtype
def test_bands_are_the_whole_image_bit_for_bit(dtype: str) -> None:
    image, labels = _random((11, 6))
    expected = _finished(image, labels, 1, dtype)
    for first, stop in ((0, 4), (4, 9), (9, 11)):
        top, end = max(first - 1, 0), min(stop + 1, 11)
        part = slice(top, end)
        rows = first - top, stop - top
        found = _finished(image[part], labels[part], 1, dtype, rows, (top, 11))
        assert np.array_equal(found, expected[first:stop])


@pytest.mark.parametrize("size", [(5, 7), (3, 11), (9, 3)])
def test_a_pixel_among_others_is_seen_from_every_program(
    size: Size, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A single heavy pixel, or a single light one, at every place of an image that many programs
    finish.
    """
    module = importlib.import_module("pcsr.runtime.kernels.finish")
    monkeypatch.setattr(module, "block", lambda *_: 8)
    image, _ = _random(size)
    for other in (0, 1):
        for place in np.ndindex(size):
            labels = np.full(size, 1 - other, dtype=np.uint8)
            labels[place] = other
            found = _finished(image, labels)
            expected = reference.refine(image, labels == 0)
            assert np.abs(found - expected).max() <= tolerances.REFINED


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_noted_once_they_are_finished(value: float) -> None:
    """`_finished` compares."""
    for row in range(4):
        image, labels = _random((4, 5))
        image[row, 3, 1] = value
        _finished(image, labels, 1, "uint8", (1, 3))
        _finished(image, labels, 0, "uint8")


def test_more_values_than_float16_can_count() -> None:
    image, labels = _random((12, 5600))
    expected = to_dtype(image.copy(), np.dtype(np.uint8))
    assert np.array_equal(_finished(image, labels, 0, "uint8"), expected)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_integers_are_clipped_and_rounded_to_even(dtype: str) -> None:
    """Every level, every half between two, and what lies outside."""
    steps = np.arange(-4, 2 * PEAK[dtype] + 5, dtype=np.float64) / (2 * PEAK[dtype])
    extremes = [-1e30, -1e6, -1.0, -0.0, 1.5, 1e6, 1e30, -np.inf, np.inf]
    row = np.append(steps, extremes).astype(np.float32)
    image = np.stack([row, row[::-1], np.roll(row, 7)], axis=-1)[None]
    labels = np.ones(image.shape[:2], dtype=np.uint8)
    with np.errstate(over="ignore"):
        expected = to_dtype(image.copy(), np.dtype(dtype))
    assert np.array_equal(_finished(image, labels, 0, dtype), expected)


def test_a_nan_stays_in_floats_and_is_0_in_integers() -> None:
    image = np.array([-0.25, 1.25, np.nan, np.inf], np.float32).reshape(1, 4, 1) * np.ones(
        3, np.float32
    )
    labels = np.ones((1, 4), np.uint8)
    assert np.array_equal(_finished(image, labels), image, equal_nan=True)
    assert _finished(image, labels, 1, "uint8")[0, :, 0].tolist() == [0, 255, 0, 255]


def test_rows_without_their_neighbours_are_refused() -> None:
    image, labels = _random((4, 5))
    for rows, frame in (((0, 3), (2, 9)), ((1, 4), (2, 9)), ((0, 3), (1, 5)), ((0, 5), (0, 4))):
        with pytest.raises(ValueError, match="rows"):
            _finished(image, labels, 1, "float32", rows, frame)
    assert len(_finished(image, labels, 0, "float32", (0, 4), (2, 9))) == 4
    assert len(_finished(image, labels, 1, "float32", (1, 3), (2, 9))) == 2
    assert len(_finished(image, labels, 1, "float32", (1, 4), (5, 9))) == 3
