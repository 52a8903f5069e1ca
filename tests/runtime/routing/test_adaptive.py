"""Adaptive decision making (section 3.3) against Lloyd's algorithm on pixels."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pcsr.runtime.routing.request import RoutingRequest
from pcsr.runtime.routing.rule import Routing, heavy_count, route
from tests import tolerances
from tests.runtime import reference
from tests.runtime.compare import rerouted_limit

Doubles = NDArray[np.float64]
TWO = np.array([0.68, 0.32], dtype=np.float32)
THREE = np.array([0.5, 0.3, 0.2], dtype=np.float32)
COUNT = 20_000


def _uniform(random: np.random.Generator) -> Doubles:
    return random.uniform(0.2, 0.7, COUNT)


def _bimodal(random: np.random.Generator) -> Doubles:
    easy = random.normal(0.1, 0.03, COUNT * 3 // 4)
    return np.concatenate([easy, random.normal(0.8, 0.06, COUNT // 4)])


def _skewed(random: np.random.Generator) -> Doubles:
    return random.beta(0.5, 6, COUNT)


def _skewed_up(random: np.random.Generator) -> Doubles:
    return random.beta(6, 0.5, COUNT)


def _outlier(random: np.random.Generator) -> Doubles:
    return np.append(random.uniform(0.1, 0.101, COUNT), 0.9)


def _long_tail(random: np.random.Generator) -> Doubles:
    return random.lognormal(-4, 1.2, COUNT)


DISTRIBUTIONS = [_uniform, _bimodal, _skewed, _skewed_up, _outlier, _long_tail]


def _difficulties(index: int) -> Doubles:
    values: Doubles = DISTRIBUTIONS[index](np.random.default_rng(index))
    return values.clip(1e-5, 1 - 1e-5)


def _adaptive(difficulty: Doubles) -> Routing:
    logit = np.log(difficulty / (1 - difficulty)).astype(np.float32)
    return route(logit[:, None], TWO, RoutingRequest(adaptive=True))


def _adaptive_three(difficulty: Doubles) -> Routing:
    """The heavier half shares the probability evenly, so the clusters alone decide."""
    heavier = np.log(difficulty / 2)
    logits = np.stack([heavier, heavier, np.log(1 - difficulty)], axis=1)
    return route(logits.astype(np.float32), THREE, RoutingRequest(adaptive=True))


@pytest.mark.parametrize("index", range(len(DISTRIBUTIONS)))
def test_two_clusters_are_those_of_lloyd_on_pixels(index: int) -> None:
    routing = _adaptive(_difficulties(index))
    expected, _ = reference.adaptive_heavy(routing.difficulty)
    different = (routing.assignment == 0) != expected
    assert different.sum() <= rerouted_limit(len(expected))
    assert 0 < expected.sum() < len(expected)


@pytest.mark.parametrize("index", range(len(DISTRIBUTIONS)))
def test_three_clusters_are_those_of_lloyd_on_pixels(index: int) -> None:
    routing = _adaptive_three(_difficulties(index))
    expected, centroids = reference.lloyd(reference.normalise(routing.difficulty), [1, 0.5, 0])
    assert (np.diff(centroids) <= 0).all()
    assert (routing.assignment != expected).sum() <= rerouted_limit(len(expected))


@pytest.mark.parametrize("index", range(len(DISTRIBUTIONS)))
def test_the_threshold_divides_heavy_from_light(index: int) -> None:
    for clusters, routing in (
        (2, _adaptive(_difficulties(index))),
        (3, _adaptive_three(_difficulties(index))),
    ):
        assert routing.threshold is not None
        heavy = routing.assignment < heavy_count(clusters)
        assert routing.difficulty[heavy].min() >= routing.threshold - tolerances.SIGMOID
        assert routing.difficulty[~heavy].max() < routing.threshold + tolerances.SIGMOID


def test_labels_come_from_the_centroids_before_the_last_update() -> None:
    levels = np.linspace(0.1, 0.9, 200)
    counts = (200 * np.exp(-5 * (levels - 0.1))).astype(int) + 1
    routing = _adaptive(np.repeat(levels, counts))
    values = reference.normalise(routing.difficulty)
    labels, centroids = reference.lloyd(values, [float(values.mean()), 0.0])
    after = np.abs(values[:, None] - centroids).argmin(axis=1)
    assert (after != labels).sum() > 100
    assert np.array_equal(routing.assignment, labels)


def test_at_most_20_published_iterations_are_run() -> None:
    """A distribution whose centroids still move by more than the stop rule after 20."""
    levels = np.linspace(0, 1, 101)
    counts = (3000 * (np.exp(-13 * levels) + 0.005 * levels**4)).astype(int) + 1
    routing = _adaptive(0.1 + 0.8 * np.repeat(levels, counts))
    heavy, _ = reference.adaptive_heavy(routing.difficulty)
    assert heavy.sum() == 841  # fast_pytorch_kmeans: 841 with max_iter=20, 726 with 21
    assert np.array_equal(routing.assignment == 0, heavy)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.lists(st.tuples(st.integers(1, 254), st.integers(1, 50)), min_size=2, max_size=8))
def test_few_distinct_values_fall_exactly_where_lloyd_puts_them(
    levels: list[tuple[int, int]],
) -> None:
    routing = _adaptive(np.repeat([v / 255 for v, _ in levels], [n for _, n in levels]))
    assume(routing.difficulty.min() < routing.difficulty.max())
    assume(_is_unambiguous(routing.difficulty))
    expected, _ = reference.adaptive_heavy(routing.difficulty)
    assert np.array_equal(routing.assignment == 0, expected)


def _is_unambiguous(difficulty: NDArray[np.float32]) -> bool:
    """Whether no iteration's boundary or stop rule lies within float32 rounding."""
    values = reference.normalise(difficulty)
    centroids = np.array([values.mean(), 0.0])
    for _ in range(reference.ADM_ITERATIONS):
        cut = centroids.mean()
        heavy = values >= cut
        if np.abs(values - cut).min() < tolerances.BIN:
            return False
        updated = np.array([values[heavy].mean(), values[~heavy].mean()])
        shift = ((updated - centroids) ** 2).sum()
        centroids = updated
        if abs(shift - reference.ADM_TOLERANCE) < 1e-6:
            return False
    return True


@pytest.mark.parametrize("value", [0.0, 1e-6, 0.3, 0.5, 1 - 1e-6])
@pytest.mark.parametrize("count", [1, 1000])
def test_a_flat_image_is_all_light(value: float, count: int) -> None:
    logit = np.float32(-100 if value == 0 else math.log(value / (1 - value)))
    two = route(np.full((count, 1), logit, np.float32), TWO, RoutingRequest(adaptive=True))
    assert (two.assignment == 1).all()
    assert two.threshold == math.inf
    three = np.tile(np.array([[logit, 0, 0]], np.float32), (count, 1))
    assert (route(three, THREE, RoutingRequest(adaptive=True)).assignment == 2).all()


def test_two_pixels_are_one_heavy_and_one_light() -> None:
    assert _adaptive(np.array([0.4, 0.6])).assignment.tolist() == [1, 0]
    assert _adaptive(np.array([0.9, 0.1])).assignment.tolist() == [0, 1]
    assert _adaptive_three(np.array([0.4, 0.9])).assignment.tolist() == [2, 0]


def test_the_order_of_pixels_does_not_matter() -> None:
    difficulty = _difficulties(2)
    order = np.random.default_rng(0).permutation(len(difficulty))
    expected = _adaptive(difficulty).assignment[order]
    assert np.array_equal(_adaptive(difficulty[order]).assignment, expected)


def test_a_difficulty_one_ulp_above_the_rest_of_a_flat_image_is_the_only_heavy_one() -> None:
    """The minimum's cluster is light however little the image's difficulties differ."""
    logit = np.zeros((13, 1), dtype=np.float32)
    logit[:3] = 2.5e-7
    routing = route(logit, TWO, RoutingRequest(adaptive=True))
    assert len(np.unique(routing.difficulty)) == 2
    expected, _ = reference.adaptive_heavy(routing.difficulty)
    assert np.array_equal(routing.assignment == 0, expected)


@pytest.mark.parametrize("centre", [-3.0, -1.0, 0.0, 1.0])
def test_a_nearly_flat_image_keeps_its_minimum_light(centre: float) -> None:
    logit = np.linspace(centre, centre + 2e-6, 50, dtype=np.float32)
    routing = route(logit[:, None], TWO, RoutingRequest(adaptive=True))
    expected, _ = reference.adaptive_heavy(routing.difficulty)
    assert np.array_equal(routing.assignment == 0, expected)


@pytest.mark.parametrize("easiest", [-40.0, -20.0, -14.0, -8.0, 0.0])
def test_an_image_that_is_easy_throughout_is_split_by_its_own_spread(easiest: float) -> None:
    """Softmax in float32 keeps 7 digits of the smallest probability, and so does the sigmoid."""
    logit = np.linspace(easiest, easiest + 3, 1000, dtype=np.float32)
    heavy = route(logit[:, None], TWO, RoutingRequest(adaptive=True)).assignment == 0
    expected, _ = reference.adaptive_heavy(1 / (1 + np.exp(-logit.astype(np.float64))))
    assert (heavy != expected).sum() <= rerouted_limit(len(expected))
