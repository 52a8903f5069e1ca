"""The compiled refinement, conversion, sigmoid and histogram against NumPy and loops."""

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pcsr.runtime.cpu.composing.again import move_in_histogram
from pcsr.runtime.cpu.passes import add_to_histogram, finish, sigmoid
from pcsr.runtime.layout import to_dtype
from pcsr.runtime.routing.adaptive import BINS, Histogram
from tests import tolerances
from tests.runtime import reference

Floats = NDArray[np.float32]
Labels = NDArray[np.uint8]
Size = tuple[int, int]

SIZES = [(1, 1), (1, 7), (7, 1), (2, 2), (2, 9), (3, 3), (3, 2), (9, 13), (4, 130), (3, 2500)]
PEAK = {"uint8": 255, "uint16": 65535}
each_size = pytest.mark.parametrize("size", SIZES)
each_dtype = pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])

pytestmark = pytest.mark.usefixtures("instructions")


def _random(size: Size, count: int = 2) -> tuple[Floats, Labels]:
    random = np.random.default_rng((count, *size))
    planes = random.uniform(-0.1, 1.1, (3, *size)).astype(np.float32)
    return planes, random.integers(0, count, size, dtype=np.uint8)


def _finished(
    planes: Floats, labels: Labels, refine_below: int = 1, dtype: str = "float32"
) -> NDArray[Any]:
    out = np.empty((*labels.shape, 3), dtype=dtype)
    finish(planes, labels, slice(0, len(labels)), refine_below, out)
    return out


@each_size
@pytest.mark.parametrize(("count", "refine_below"), [(1, 1), (2, 1), (3, 2), (5, 3)])
def test_refinement_is_that_of_a_double_loop(size: Size, count: int, refine_below: int) -> None:
    planes, labels = _random(size, count)
    expected = reference.refine(planes.transpose(1, 2, 0), labels < refine_below)
    gap = np.abs(_finished(planes, labels, refine_below) - expected)
    assert gap.max() <= tolerances.REFINED


@settings(
    derandomize=True,
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.integers(1, 9), st.integers(1, 70), st.floats(0, 1), st.integers(0, 2**16))
def test_refinement_of_any_map_is_that_of_a_double_loop(
    height: int, width: int, share: float, seed: int
) -> None:
    random = np.random.default_rng(seed)
    planes = random.random((3, height, width), dtype=np.float32)
    labels = (random.random((height, width)) >= share).astype(np.uint8)
    expected = reference.refine(planes.transpose(1, 2, 0), labels == 0)
    assert np.abs(_finished(planes, labels) - expected).max() <= tolerances.REFINED


@each_size
@each_dtype
def test_nothing_is_refined_where_all_are_alike_or_it_is_not_asked_for(
    size: Size, dtype: str
) -> None:
    planes, labels = _random(size)
    expected = to_dtype(planes.transpose(1, 2, 0).copy(), np.dtype(dtype))
    assert np.array_equal(_finished(planes, labels, 0, dtype), expected)
    for label in (0, 1):
        alike = np.full(size, label, dtype=np.uint8)
        assert np.array_equal(_finished(planes, alike, 1, dtype), expected)


@pytest.mark.parametrize("corner", [(0, 0), (0, 6), (4, 0), (4, 6), (0, 3), (2, 3)])
def test_one_heavy_pixel_refines_its_neighbours_inside_the_frame(corner: Size) -> None:
    planes, labels = _random((5, 7))
    labels[:] = 1
    labels[corner] = 0
    changed = (_finished(planes, labels) != planes.transpose(1, 2, 0)).any(axis=-1)
    near = np.abs(np.indices((5, 7)) - np.array(corner)[:, None, None]).max(axis=0) <= 1
    near[corner] = near[[0, -1]] = near[:, [0, -1]] = False
    assert np.array_equal(changed, near)


@each_size
@each_dtype
@pytest.mark.parametrize("step", [1, 2, 4])
def test_strips_of_rows_are_the_whole_image_bit_for_bit(size: Size, dtype: str, step: int) -> None:
    planes, labels = _random(size)
    out = np.empty((*size, 3), dtype=dtype)
    for start in range(0, size[0], step):
        rows = slice(start, min(start + step, size[0]))
        finish(planes, labels, rows, 1, out[rows])
    assert np.array_equal(out, _finished(planes, labels, 1, dtype))


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_integers_are_clipped_and_rounded_as_elsewhere(dtype: str) -> None:
    """Every level, every half between two, and what lies outside."""
    steps = np.arange(-4, 2 * PEAK[dtype] + 5, dtype=np.float64) / (2 * PEAK[dtype])
    extremes = [-1e30, -1e6, -1.0, -0.0, 1.5, 1e6, 1e30, -np.inf, np.inf]
    row = np.append(steps, extremes).astype(np.float32)
    planes = np.stack([row, row[::-1], np.roll(row, 7)])[:, None]
    labels = np.ones((1, len(row)), dtype=np.uint8)
    with np.errstate(over="ignore"):
        expected = to_dtype(planes.transpose(1, 2, 0).copy(), np.dtype(dtype))
    assert np.array_equal(_finished(planes, labels, 1, dtype), expected)


def test_floats_are_not_clipped_and_a_nan_stays() -> None:
    planes = np.array([-0.25, 1.25, np.nan, np.inf], np.float32) * np.ones((3, 1, 1), np.float32)
    labels = np.ones((1, 4), np.uint8)
    assert np.array_equal(_finished(planes, labels), planes.transpose(1, 2, 0), equal_nan=True)


def test_refined_integers_are_rounded_once() -> None:
    planes, labels = _random((9, 13))
    exact = reference.refine(planes.transpose(1, 2, 0), labels == 0).clip(0, 1)
    for dtype, peak in PEAK.items():
        gap = np.abs(_finished(planes, labels, 1, dtype) - exact * peak)
        assert gap.max() <= tolerances.ROUNDED[dtype]


# Histogram


def _added(parts: list[Floats]) -> Histogram:
    histogram = Histogram()
    for part in parts:
        add_to_histogram(part, histogram.table)
        histogram.widen(part)
    return histogram


def _counts(histogram: Histogram) -> NDArray[np.float64]:
    return histogram.table[:, 0]


def _assert_same(found: Histogram, expected: Histogram) -> None:
    assert np.array_equal(_counts(found), _counts(expected))
    np.testing.assert_allclose(found.table, expected.table, rtol=1e-12)
    assert (found.low, found.high) == (expected.low, expected.high)


@pytest.mark.parametrize("parts", [1, 7])
def test_a_histogram_filled_in_parts_is_that_of_the_image(parts: int) -> None:
    values = np.random.default_rng(0).beta(0.3, 0.5, 20_001).astype(np.float32)
    found = _added(np.array_split(values, parts))
    _assert_same(found, Histogram.of(values))
    bins = np.minimum((values.astype(np.float64) * BINS).astype(int), BINS - 1)
    assert np.array_equal(_counts(found), np.bincount(bins, minlength=BINS))
    assert found.table[:, 1].sum() == pytest.approx(values.astype(np.float64).sum(), rel=1e-12)


def test_the_ends_and_every_edge_fall_into_the_bin_above_them() -> None:
    edges = np.arange(BINS + 1, dtype=np.float32) / np.float32(BINS)
    found = _added([edges])
    assert (_counts(found)[:-1] == 1).all()
    assert _counts(found)[-1] == 2  # 1.0 has no bin above it
    _assert_same(found, Histogram.of(edges))


def test_values_below_an_edge_stay_below_it() -> None:
    edges = np.arange(1, BINS + 1, dtype=np.float32) / np.float32(BINS)
    below = np.nextafter(edges, np.float32(0))
    _assert_same(_added([below]), Histogram.of(below))


def test_the_smallest_values_are_kept_in_the_sum_to_a_share_of_the_range() -> None:
    tiny = np.array([1e-45, 1e-38, 1e-20, 1e-7], np.float32)
    found = _added([tiny])
    assert found.table[0, 0] == 4
    assert found.table[0, 1] == pytest.approx(1e-7, abs=2.0**-42)
    assert found.table[0, 1] % 2.0**-41 == 0


RANGES = [(0.0, 1.0), (0.0, 1e-7), (1e-12, 3e-4), (0.3, 0.30001), (0.0, 1e-30), (0.999, 1.0)]


@pytest.mark.parametrize(("first", "last"), RANGES)
def test_sums_do_not_depend_on_the_order_and_nothing_stays_of_what_is_taken_out(
    first: float, last: float
) -> None:
    """Of values of all magnitudes, whose float64 sum would depend on it."""
    random = np.random.default_rng(0)
    low, high = np.float32(first), np.float32(last)
    sizes = np.exp(random.uniform(-80, 0, 30_000)).astype(np.float32)
    values = np.clip(low + sizes * (high - low), low, high)
    tables = np.zeros((3, BINS, 2))
    add_to_histogram(values, tables[0], first, last)
    for part in np.array_split(np.sort(values), 7):
        add_to_histogram(part, tables[1], first, last)
    assert np.array_equal(tables[0], tables[1])
    assert np.array_equal(tables[0], Histogram.of(values, first, last).table)
    others = random.permutation(values[::2])
    add_to_histogram(others, tables[2], first, last)
    move_in_histogram(others, values[: len(others)], tables[2], first, last)
    add_to_histogram(values[len(others) :], tables[2], first, last)
    assert np.array_equal(tables[0], tables[2])
    move_in_histogram(values, np.full_like(values, high), tables[2], first, last)
    assert np.array_equal(np.flatnonzero(tables[2].any(axis=1)), [BINS - 1])
    assert tables[2, -1].tolist() == [len(values), len(values) * float(high)]


def test_no_values_change_nothing() -> None:
    table = np.zeros((8, 2))
    add_to_histogram(np.empty(0, np.float32), table)
    assert not table.any()


def test_the_sum_of_two_histograms_is_that_of_all_values() -> None:
    values = np.random.default_rng(0).beta(0.3, 0.5, 2000).astype(np.float32)
    _assert_same(_added([values[:700]]) + _added([values[700:]]), Histogram.of(values))
    _assert_same(Histogram() + Histogram.of(values), Histogram.of(values))


# Sigmoid


@pytest.mark.parametrize("count", [1, 5, 16, 1000])
def test_the_sigmoid_is_that_of_float64(count: int) -> None:
    logit = np.linspace(-80, 80, count, dtype=np.float32)
    near = np.linspace(-9, 9, count, dtype=np.float32)
    for values in (logit, near, -logit, near.reshape(1, -1)):
        expected = 1 / (1 + np.exp(-values.astype(np.float64)))
        found = sigmoid(values)
        assert found.dtype == np.float32
        assert found.shape == values.shape
        np.testing.assert_allclose(found, expected, rtol=tolerances.SIGMOID_ULPS)
        assert np.abs(found - expected).max() <= tolerances.SIGMOID


def test_the_sigmoid_never_falls() -> None:
    logit = np.arange(-20, 20, 1e-4, dtype=np.float32)
    slack = tolerances.SIGMOID_ULPS  # of the value: neighbours may change places within rounding
    found = sigmoid(logit).astype(np.float64)
    assert (np.diff(found) >= -slack * found[1:]).all()


def test_the_sigmoid_of_each_value_is_the_same_wherever_it_stands() -> None:
    logit = np.random.default_rng(0).normal(0, 5, 1003).astype(np.float32)
    whole = sigmoid(logit)
    for first in (0, 1, 7, 500, 1001):
        assert np.array_equal(sigmoid(logit[first:]), whole[first:])


def test_the_sigmoid_of_extremes_lies_in_0_to_1_and_a_nan_stays() -> None:
    logit = np.array([-np.inf, -1e30, -200, -0.0, 0.0, 200, 1e30, np.inf, np.nan], np.float32)
    found = sigmoid(logit)
    assert found[3:8].tolist() == [0.5, 0.5, 1, 1, 1]
    assert (found[:3] >= 0).all()
    assert (found[:3] < 1e-37).all()
    assert np.isnan(found[8])
