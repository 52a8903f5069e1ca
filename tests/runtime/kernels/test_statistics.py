"""ADM and the share of heavy pixels on the device, against their NumPy forms."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from pcsr.runtime.geometry.grid import Floats
from pcsr.runtime.kernels import DeviceRule, adaptive_bounds, ratio_cut, route
from pcsr.runtime.routing.adaptive import Histogram, adaptive_thresholds
from pcsr.runtime.routing.rule import difficulty_logit, heavy_count, ratio_threshold
from tests import tolerances
from tests.runtime.compare import rerouted_limit
from tests.runtime.networks import Doubles

from .scenes import routing_buffers, tensor

COUNT = 20_000
DISTRIBUTIONS: dict[str, Callable[[np.random.Generator], Doubles]] = {
    "uniform": lambda random: random.uniform(0.2, 0.7, COUNT),
    "skewed": lambda random: random.beta(0.5, 6, COUNT),
    "skewed up": lambda random: random.beta(6, 0.5, COUNT),
    "long tail": lambda random: random.lognormal(-4, 1.2, COUNT),
    "outlier": lambda random: np.append(random.uniform(0.1, 0.101, COUNT), 0.9),
    "narrow": lambda random: random.uniform(0.5, 0.51, COUNT),
}


def _logit(difficulty: Doubles) -> Floats:
    """A float32 logit of each difficulty."""
    logit: Floats = np.log(difficulty / (1 - difficulty)).astype(np.float32)
    return logit


def _columns(logit: Floats, count: int) -> Floats:
    """Logits [K, N] of M upsamplers, whose heavier half shares the probability evenly."""
    if count == 2:
        return logit[None]
    heavy = heavy_count(count)
    halves = [logit - np.float32(np.log(heavy))] * heavy
    light = np.full_like(logit, -np.log(count - heavy))
    return np.stack([*halves, *[light] * (count - heavy)])


def _bounds(logit: Floats, count: int) -> tuple[Floats, Floats]:
    """ADM's bounds [M - 1], and the difficulties [N] that they divide: those of `route`."""
    logits, bounds = tensor(_columns(logit, count)), torch.full((count - 1,), math.nan)
    adaptive_bounds(logits, count, bounds)
    routed = routing_buffers(count, len(logit))
    route(logits, DeviceRule(count, "bounds", bounds), routed)
    return bounds.numpy(), routed.difficulty.numpy()


def _expected_bounds(difficulty: Floats, clusters: int) -> list[float]:
    whole = Histogram.of(difficulty)
    fine = Histogram.of(difficulty, whole.low, whole.high) if whole.is_coarse else whole
    return adaptive_thresholds(fine, clusters)[1]


@pytest.mark.parametrize("clusters", [2, 3, 5])
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_thresholds_are_those_of_the_histogram_with_sums(name: str, clusters: int) -> None:
    values = DISTRIBUTIONS[name](np.random.default_rng(0)).clip(1e-5, 1 - 1e-5)
    found, difficulty = _bounds(_logit(values), clusters)
    expected = _expected_bounds(difficulty, clusters)
    spread = float(difficulty.max() - difficulty.min())
    gap = np.abs(found - expected) - np.spacing(found)  # it is rounded up
    assert gap.max() <= tolerances.BOUND * spread
    for bound, other in zip(found, expected, strict=True):
        different = (difficulty < bound) != (difficulty < other)
        assert different.sum() <= rerouted_limit(len(difficulty))


def test_at_most_19_updates_are_made() -> None:
    """A distribution whose centroids still move by more than the stop rule after 19."""
    levels = np.linspace(0, 1, 101)
    counts = (3000 * (np.exp(-13 * levels) + 0.005 * levels**4)).astype(int) + 1
    found, difficulty = _bounds(_logit(0.1 + 0.8 * np.repeat(levels, counts)), 2)
    assert (difficulty >= found[0]).sum() == 841  # 726 with one more, as in test_adaptive.py


@pytest.mark.parametrize("clusters", [2, 3])
@pytest.mark.parametrize("count", [1, 9000, 70_001])
@pytest.mark.parametrize("logit", [-200.0, -0.8, 0.0, 30.0])
def test_a_flat_image_is_all_light(clusters: int, count: int, logit: float) -> None:
    found, _ = _bounds(np.full(count, logit, np.float32), clusters)
    assert found.tolist() == [math.inf] * (clusters - 1)


@pytest.mark.parametrize("clusters", [2, 3])
def test_all_are_light_where_a_logit_is_not_a_number(clusters: int) -> None:
    logit = np.random.default_rng(0).normal(0, 2, 9000).astype(np.float32)
    logit[77] = math.nan
    assert _bounds(logit, clusters)[0].tolist() == [math.inf] * (clusters - 1)


@pytest.mark.parametrize("clusters", [2, 3])
def test_two_values_are_divided(clusters: int) -> None:
    found, _ = _bounds(_logit(np.repeat([0.25, 0.75], [3, 5000])), clusters)
    assert ((found > 0.25 + 1e-6) & (found <= 0.75)).all()


@pytest.mark.parametrize("centre", [-80.0, -20.0, 0.0])
def test_an_image_of_nearly_equal_difficulties_is_divided(centre: float) -> None:
    """However small they are, and their differences."""
    logit = np.linspace(centre, centre + 1e-3, 300, dtype=np.float32)
    (found,), difficulty = _bounds(logit, 2)
    spread = float(difficulty.max() - difficulty.min())
    gap = abs(float(found) - _expected_bounds(difficulty, 2)[0]) - np.spacing(found)
    assert gap <= tolerances.BOUND * spread
    assert 140 <= (difficulty < found).sum() <= 160


def test_bounds_are_rounded_up() -> None:
    """Two equal halves at 0 and about a third: the exact bound lies between two float32 values."""
    logit = np.repeat(np.array([-np.inf, np.log(0.5)], np.float32), 50)
    (found,), difficulty = _bounds(logit, 2)
    high = float(difficulty.max())
    exact = high / 2  # clusters at the centres of the first and the last bin: their middle
    assert difficulty.min() == 0
    assert float(np.float32(exact)) != exact or found == exact
    assert float(found) >= exact
    assert float(np.nextafter(found, np.float32(0))) < exact


@pytest.mark.parametrize("count", [2, 3])
def test_values_are_counted_once_whatever_bins_they_fall_into(count: int) -> None:
    """Few levels, of which most pixels have the least and the largest one."""
    levels = np.array([0.02, 0.3, 0.7, 0.98])
    logit = _logit(np.random.default_rng(3).choice(levels, 30_011, p=[0.6, 0.02, 0.03, 0.35]))
    found, difficulty = _bounds(logit, count)
    expected = _expected_bounds(difficulty, count)
    for bound, other in zip(found, expected, strict=True):
        assert np.array_equal(difficulty < bound, difficulty < other)


def _cut(logits: Floats, count: int, above: int) -> float:
    out = torch.full((1,), math.nan)
    ratio_cut(tensor(logits), count, torch.tensor([above]), out)
    return out.item()


@pytest.mark.parametrize("ratio", [0.0, 1e-4, 0.2, 0.5, 0.99999, 1.0])
def test_the_share_is_exact(ratio: float) -> None:
    values = np.random.default_rng(0).normal(0.5, 3, 10_007).astype(np.float32)
    cut = _cut(values[None], 2, round(ratio * len(values)))
    assert cut == ratio_threshold(values, ratio)
    assert (values > cut).sum() == round(ratio * len(values))


@pytest.mark.parametrize("count", [3, 5])
@pytest.mark.parametrize("ratio", [0.0, 0.2, 0.9, 1.0])
def test_the_share_of_more_upsamplers_is_that_of_their_difficulty(count: int, ratio: float) -> None:
    random = np.random.default_rng(count)
    logits = random.normal(0, 4, (9001, count)).astype(np.float32)
    cut = _cut(logits.T, count, round(ratio * 9001))
    expected = float(ratio_threshold(difficulty_logit(logits), ratio))
    assert cut == expected or abs(cut - expected) <= tolerances.LOGIT


@pytest.mark.parametrize("ratio", [0.0, 0.3, 0.5, 0.7, 1.0])
def test_level_values_and_both_zeros_are_not_split(ratio: float) -> None:
    random = np.random.default_rng(1)
    values = np.round(random.normal(0, 1.5, 3000)).astype(np.float32)
    values[::5] = -0.0
    assert _cut(values[None], 2, round(ratio * 3000)) == ratio_threshold(values, ratio)


@pytest.mark.parametrize("value", [-1e30, -1.5, -1e-40, 0.0, 1e-40, 7.25, 3e38])
def test_a_flat_image_of_any_value(value: float) -> None:
    values = np.full(9000, value, dtype=np.float32)
    assert _cut(values[None], 2, 4500) == values[0]


def test_values_of_all_sizes_are_in_order() -> None:
    random = np.random.default_rng(2)
    values = (random.choice([-1, 1], 999) * 10 ** random.uniform(-44, 38, 999)).astype(np.float32)
    for rank in (0, 1, 499, 500, 998):
        assert _cut(values[None], 2, 998 - rank) == np.sort(values)[rank]


def test_tensors_that_do_not_fit_are_refused() -> None:
    logits, bounds, cut = torch.zeros((3, 8)), torch.zeros(2), torch.zeros(1)
    with pytest.raises(ValueError, match="logits: expected"):
        adaptive_bounds(logits, 2, torch.zeros(1))
    with pytest.raises(ValueError, match="out: expected"):
        adaptive_bounds(logits, 3, bounds.double())
    with pytest.raises(ValueError, match="above: expected"):
        ratio_cut(logits, 3, torch.zeros(1, dtype=torch.int32), cut)
