"""ADM and the share of heavy pixels on the device, against their NumPy forms."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from pcsr.runtime.geometry.grid import Floats
from pcsr.runtime.kernels import difficulties, histogram, lloyd, select
from pcsr.runtime.routing.adaptive import Histogram, adaptive_thresholds
from pcsr.runtime.routing.rule import difficulty_logit, heavy_count, ratio_threshold, sigmoid
from tests import tolerances
from tests.runtime.compare import rerouted_limit
from tests.runtime.networks import Doubles

from .scenes import tensor

COUNT = 20_000
DISTRIBUTIONS: dict[str, Callable[[np.random.Generator], Doubles]] = {
    "uniform": lambda random: random.uniform(0.2, 0.7, COUNT),
    "skewed": lambda random: random.beta(0.5, 6, COUNT),
    "skewed up": lambda random: random.beta(6, 0.5, COUNT),
    "long tail": lambda random: random.lognormal(-4, 1.2, COUNT),
    "outlier": lambda random: np.append(random.uniform(0.1, 0.101, COUNT), 0.9),
    "narrow": lambda random: random.uniform(0.5, 0.51, COUNT),
}


def _difficulty(name: str) -> Floats:
    values = DISTRIBUTIONS[name](np.random.default_rng(0))
    clipped: Floats = values.clip(1e-5, 1 - 1e-5).astype(np.float32)
    return clipped


def _bounds(difficulty: Floats, clusters: int) -> Floats:
    values = tensor(difficulty)
    low, high = torch.aminmax(values)
    table = histogram(values, low, high)
    assert table.sum().item() == len(difficulty)
    found: Floats = lloyd(table, low, high, clusters).numpy()
    return found


def _expected_bounds(difficulty: Floats, clusters: int) -> list[float]:
    whole = Histogram.of(difficulty)
    fine = Histogram.of(difficulty, whole.low, whole.high) if whole.is_coarse else whole
    return adaptive_thresholds(fine, clusters)[1]


@pytest.mark.parametrize("clusters", [2, 3, 5])
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_thresholds_are_those_of_the_histogram_with_sums(name: str, clusters: int) -> None:
    difficulty = _difficulty(name)
    found, expected = _bounds(difficulty, clusters), _expected_bounds(difficulty, clusters)
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
    difficulty = (0.1 + 0.8 * np.repeat(levels, counts)).astype(np.float32)
    found = _bounds(difficulty, 2)
    assert (difficulty >= found[0]).sum() == 841  # 726 with one more, as in test_adaptive.py


@pytest.mark.parametrize("clusters", [2, 3])
@pytest.mark.parametrize("count", [1, 9000])
def test_a_flat_image_is_all_light(clusters: int, count: int) -> None:
    difficulty = np.full(count, 0.3, dtype=np.float32)
    assert _bounds(difficulty, clusters).tolist() == [math.inf] * (clusters - 1)


@pytest.mark.parametrize("clusters", [2, 3])
def test_two_values_are_divided(clusters: int) -> None:
    difficulty = np.repeat(np.array([0.25, 0.75], np.float32), [3, 5000])
    found = _bounds(difficulty, clusters)
    assert ((found > 0.25) & (found <= 0.75)).all()


def test_bounds_are_rounded_up() -> None:
    """Two equal halves at 0 and a third: the exact bound lies between two float32 values."""
    high = np.float32(1) / np.float32(3)
    found = _bounds(np.repeat(np.array([0, high], np.float32), 50), 2)[0]
    exact = float(high) / 2  # clusters at the centres of the first and the last bin: their middle
    assert float(found) >= exact
    assert float(np.nextafter(found, np.float32(0))) < exact


@pytest.mark.parametrize("count", [2, 3, 5])
def test_difficulties_are_those_of_routing(count: int) -> None:
    random = np.random.default_rng(count)
    logits = random.normal(0, 4, (9001, 1 if count == 2 else count)).astype(np.float32)
    out, expected = torch.full((9001,), math.nan), difficulty_logit(logits)
    difficulties(tensor(logits.T), count, out, as_logit=True)
    assert np.abs(out.numpy() - expected).max() <= tolerances.LOGIT
    difficulties(tensor(logits.T), count, out)
    assert np.abs(out.numpy() - sigmoid(expected)).max() <= tolerances.SIGMOID
    assert 0 < heavy_count(count) < count


def _above(ratio: float, values: Floats) -> Tensor:
    return tensor(np.array([round(ratio * len(values))]))


@pytest.mark.parametrize("ratio", [0.0, 1e-4, 0.2, 0.5, 0.99999, 1.0])
def test_the_share_is_exact(ratio: float) -> None:
    values = np.random.default_rng(0).normal(0.5, 3, 10_007).astype(np.float32)
    cut = select(tensor(values), _above(ratio, values))
    assert cut.shape == (1,)
    assert cut.dtype == torch.float32
    assert cut.item() == ratio_threshold(values, ratio)
    assert (values > cut.item()).sum() == round(ratio * len(values))


@pytest.mark.parametrize("ratio", [0.0, 0.3, 0.5, 0.7, 1.0])
def test_level_values_and_both_zeros_are_not_split(ratio: float) -> None:
    random = np.random.default_rng(1)
    values = np.round(random.normal(0, 1.5, 3000)).astype(np.float32)
    values[::5] = -0.0
    cut = select(tensor(values), _above(ratio, values)).item()
    assert cut == ratio_threshold(values, ratio)


@pytest.mark.parametrize("value", [-1e30, -1.5, -1e-40, 0.0, 1e-40, 7.25, 3e38])
def test_a_flat_image_of_any_value(value: float) -> None:
    values = np.full(9000, value, dtype=np.float32)
    assert select(tensor(values), _above(0.5, values)).item() == values[0]


def test_values_of_all_sizes_are_in_order() -> None:
    random = np.random.default_rng(2)
    values = (random.choice([-1, 1], 999) * 10 ** random.uniform(-44, 38, 999)).astype(np.float32)
    for rank in (0, 1, 499, 500, 998):
        cut = select(tensor(values), tensor(np.array([998 - rank])))
        assert cut.item() == np.sort(values)[rank]
