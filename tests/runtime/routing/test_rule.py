"""Cost table, fixed k and heavy ratio, against plain loops over pixels."""

import math
from dataclasses import fields, replace
from typing import get_type_hints

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pcsr.errors import ImageError, UsageError
from pcsr.manifest import Costs
from pcsr.runtime.routing.adaptive import Histogram
from pcsr.runtime.routing.request import RoutingOptions, RoutingRequest
from pcsr.runtime.routing.rule import (
    Rule,
    adaptive_rule,
    difficulty_logit,
    fixed_rule,
    heavy_count,
    ratio_rule,
    route,
    sigmoid,
)
from tests import tolerances
from tests.runtime import reference

Floats = NDArray[np.float32]
TWO = np.array([0.68, 0.32], dtype=np.float32)
THREE = np.array([0.5, 0.3, 0.2], dtype=np.float32)
KS = [-25.0, -1.0, 0.0, 0.5, 0.7, 1.0, 25.0]
FLAT = np.full((40, 1), 0.25, dtype=np.float32)


def _logits(count: int, columns: int, spread: float = 3.0) -> Floats:
    random = np.random.default_rng(0).normal(0, spread, (count, columns))
    return random.astype(np.float32)


def _count(assignment: NDArray[np.uint8], upsampler: int) -> int:
    return int((assignment == upsampler).sum())


@pytest.mark.parametrize("scale", [1, 1.5, 2, 2.5, 3, 3.7, 4])
@pytest.mark.parametrize("upsamplers", [(41588, 3960), (195500, 60000, 11600), (1500,)])
def test_cost_table_is_the_share_of_backbone_and_upsampler(
    scale: float, upsamplers: tuple[int, ...]
) -> None:
    costs = Costs(5117952, 208, upsamplers, 1.0, 1, upsamplers)
    table = costs.cost_table(scale)
    assert table.dtype == np.float32
    expected = reference.cost_table(5117952, upsamplers, scale)
    np.testing.assert_allclose(table, expected, atol=tolerances.COST)


def test_paper_flops_charge_the_backbone_per_input_pixel_and_the_rest_per_output_pixel() -> None:
    costs = Costs(256 * 7, 11, (100, 10), 1.0, 1, (1, 1))
    flops = costs.paper_flops((3, 5), (6, 10), (20, 40))
    assert flops == 7 * 15 + 11 * 60 + 100 * 20 + 10 * 40


def test_difficulty_is_the_probability_of_the_heavier_half() -> None:
    logits = _logits(2000, 1, spread=6)
    two = route(logits, TWO, RoutingRequest()).difficulty
    expected = 1 / (1 + np.exp(-logits[:, 0].astype(np.float64)))
    assert np.abs(two - expected).max() <= tolerances.SIGMOID
    logits = _logits(2000, 3, spread=6)
    three = route(logits, THREE, RoutingRequest()).difficulty
    expected = reference.softmax(logits)[:, :2].sum(axis=1)
    assert np.abs(three - expected).max() <= tolerances.SIGMOID


@pytest.mark.parametrize("logit", [-200.0, -90.0, 0.0, 90.0, 200.0])
def test_extreme_logits_give_finite_difficulties(logit: float) -> None:
    for columns, cost in ((1, TWO), (3, THREE)):
        logits = np.zeros((4, columns), dtype=np.float32)
        logits[:, 0] = logit
        difficulty = route(logits, cost, RoutingRequest()).difficulty
        assert np.isfinite(difficulty).all()
        assert ((difficulty >= 0) & (difficulty <= 1)).all()


@pytest.mark.parametrize("k", KS)
def test_two_upsamplers_take_the_argmax_of_probability_over_cost(k: float) -> None:
    cut = k * math.log(0.68 / 0.32)
    logits = _logits(1000, 1) + np.float32(cut)
    assignment = route(logits, TWO, RoutingRequest(k)).assignment
    light = 1 / (1 + np.exp(logits[:, 0].astype(np.float64)))
    pairs = np.stack([1 - light, light], axis=1)
    expected = [reference.best_upsampler(pair, [0.68, 0.32], k) for pair in pairs]
    assert assignment.dtype == np.uint8
    assert np.array_equal(assignment, expected)
    assert 0.3 < assignment.mean() < 0.7


@pytest.mark.parametrize("k", KS)
def test_three_upsamplers_take_the_argmax_of_probability_over_cost(k: float) -> None:
    logits = (_logits(1000, 3) + k * np.log(THREE)).astype(np.float32)
    assignment = route(logits, THREE, RoutingRequest(k)).assignment
    probabilities = reference.softmax(logits)
    expected = [reference.best_upsampler(p, [0.5, 0.3, 0.2], k) for p in probabilities]
    assert np.array_equal(assignment, expected)
    assert min(_count(assignment, j) for j in range(3)) > 100


def test_level_upsamplers_give_the_lighter_one() -> None:
    equal = np.full(2, 0.5, dtype=np.float32)
    for k in KS:
        assert route(
            np.zeros((1, 1), np.float32), equal, RoutingRequest(k)
        ).assignment.tolist() == [1]
    levels = np.array([[1, 1, 1], [2, 2, 1], [2, 1, 2], [1, 2, 2], [3, 2, 1]], dtype=np.float32)
    assert route(levels, THREE, RoutingRequest()).assignment.tolist() == [2, 1, 2, 2, 0]


@pytest.mark.parametrize("k", [-25.0, 0.0, 0.7, 25.0])
def test_pixels_above_the_threshold_are_heavy_for_two_upsamplers(k: float) -> None:
    routing = route(_logits(1000, 1), TWO, RoutingRequest(k))
    assert routing.threshold is not None
    expected = 1 / (1 + (0.32 / 0.68) ** k)
    assert routing.threshold == pytest.approx(expected, abs=tolerances.SIGMOID)
    heavy = routing.assignment == 0
    assert (routing.difficulty[heavy] >= routing.threshold).all()
    assert (routing.difficulty[~heavy] <= routing.threshold).all()


def test_no_single_threshold_decides_between_three_upsamplers() -> None:
    assert route(_logits(10, 3), THREE, RoutingRequest()).threshold is None


@pytest.mark.parametrize("ratio", [0, 0.001, 0.2, 1 / 3, 0.5, 0.9999, 1])
@pytest.mark.parametrize("count", [1, 2, 7, 1000])
@pytest.mark.parametrize("columns", [1, 3])
def test_heavy_ratio_of_distinct_pixels_is_exact(ratio: float, count: int, columns: int) -> None:
    routing = route(_logits(count, columns), THREE if columns == 3 else TWO, _ratio(ratio))
    heavy = routing.assignment < heavy_count(max(2, columns))
    assert int(heavy.sum()) == round(ratio * count)
    if heavy.any() and not heavy.all():
        assert routing.difficulty[heavy].min() >= routing.difficulty[~heavy].max()


@settings(derandomize=True, deadline=None, max_examples=300)
@given(levels=st.lists(st.integers(-3, 3), min_size=1, max_size=60), ratio=st.floats(0, 1))
@example(levels=[1, 1, 1, 0], ratio=0.5)
def test_heavy_ratio_never_splits_level_pixels_nor_exceeds_the_ratio(
    levels: list[int], ratio: float
) -> None:
    logits = np.array(levels, dtype=np.float32)
    heavy = route(logits[:, None], TWO, _ratio(ratio)).assignment == 0
    target = round(ratio * len(levels))
    assert heavy.sum() <= target
    if not heavy.all():
        hardest_light = logits[~heavy].max()
        assert (logits[heavy] > hardest_light).all()
        assert heavy.sum() + (logits == hardest_light).sum() > target


@pytest.mark.parametrize("ratio", [0, 0.3, 1])
def test_heavy_ratio_takes_the_best_upsampler_within_each_half(ratio: float) -> None:
    logits = _logits(1000, 3)
    assignment = route(logits, THREE, _ratio(ratio)).assignment
    probabilities = reference.softmax(logits)
    hardest = np.argsort(-probabilities[:, :2].sum(axis=1))[: round(ratio * 1000)]
    expected = np.full(1000, 2)
    expected[hardest] = np.where(logits[hardest, 0] > logits[hardest, 1], 0, 1)
    assert np.array_equal(assignment, expected)


def test_heavy_ratio_takes_the_lighter_of_two_level_upsamplers_of_the_heavier_half() -> None:
    logits = np.array([[1, 1, -5], [2, 1, 0]], dtype=np.float32)
    assert route(logits, THREE, _ratio(1)).assignment.tolist() == [1, 0]


def test_heavy_ratio_of_a_flat_image_is_all_or_none() -> None:
    for ratio, share in ((0, 0), (0.5, 0), (0.99, 1), (1, 1)):
        assert (route(FLAT, TWO, _ratio(ratio)).assignment == 0).mean() == share


@pytest.mark.parametrize(("upsamplers", "heavy"), [(0, 0), (1, 1), (2, 1), (3, 2), (4, 2), (5, 3)])
def test_the_heavier_half_is_rounded_up(upsamplers: int, heavy: int) -> None:
    assert heavy_count(upsamplers) == heavy


@pytest.mark.parametrize("k", [math.nan, math.inf, -math.inf, 1.1e6, -1e300])
def test_a_k_that_is_not_finite_or_enormous_is_refused(k: float) -> None:
    with pytest.raises(UsageError, match="k must be a number within"):
        RoutingRequest(k)


@pytest.mark.parametrize("ratio", [math.nan, math.inf, -0.01, 1.01])
def test_a_heavy_ratio_outside_0_to_1_is_refused(ratio: float) -> None:
    with pytest.raises(UsageError, match=r"heavy_ratio must lie in \[0, 1\]"):
        _ratio(ratio)


@pytest.mark.parametrize(
    ("k", "adaptive", "ratio"),
    [(0.0, True, 0.2), (0.0, True, 0.0), (0.5, True, None), (0.5, False, 0.2), (1.0, True, 0.0)],
)
def test_at_most_one_way_to_route_is_taken(k: float, adaptive: bool, ratio: float | None) -> None:
    with pytest.raises(UsageError, match=r"exclude|not used"):
        RoutingRequest(k, adaptive, ratio)


def test_every_field_of_a_request_is_an_option_of_a_call() -> None:
    names = [field.name for field in fields(RoutingRequest)]
    assert sorted(names) == sorted(get_type_hints(RoutingOptions))
    assert RoutingRequest().cost_weight == RoutingRequest(0.0).cost_weight == 0


def test_a_request_is_completed_by_the_default_where_it_names_no_way() -> None:
    default = RoutingRequest(preset="fast", refine=False, adaptive_budget=True)
    assert RoutingRequest().or_else(default) == replace(default, adaptive_budget=None)
    assert RoutingRequest(refine=True).or_else(default).is_refined
    assert RoutingRequest(k=0.0).or_else(default) == RoutingRequest(k=0.0, refine=False)
    assert RoutingRequest(budget_ms=9).or_else(default).adaptive_budget is True
    given = RoutingRequest(budget_ms=9, adaptive_budget=False).or_else(default)
    assert given.adaptive_budget is False
    assert given.or_else(default) == given


@pytest.mark.parametrize("cost", [TWO, THREE], ids=["two", "three"])
@pytest.mark.parametrize(("k", "upsampler"), [(-1e6, 0), (1e6, -1)])
def test_the_largest_k_gives_the_heaviest_or_the_lightest(
    cost: Floats, k: float, upsampler: int
) -> None:
    logits = _logits(50, 1 if len(cost) == 2 else 3)
    assert (route(logits, cost, RoutingRequest(k)).assignment == range(len(cost))[upsampler]).all()


def _rule(mode: RoutingRequest, cost: Floats, logits: Floats) -> Rule:
    """As a pipeline makes it, from statistics alone."""
    logit = difficulty_logit(logits)
    if mode.adaptive:
        return adaptive_rule(cost, Histogram.of(sigmoid(logit)))
    if mode.heavy_ratio is not None:
        return ratio_rule(cost, logit, mode.heavy_ratio)
    return fixed_rule(cost, mode.cost_weight)


@pytest.mark.parametrize("cost", [TWO, THREE], ids=["two", "three"])
@pytest.mark.parametrize(
    "mode",
    [
        RoutingRequest(),
        RoutingRequest(0.7),
        RoutingRequest(adaptive=True),
        RoutingRequest(heavy_ratio=0.3),
    ],
    ids=str,
)
def test_a_rule_routes_parts_as_the_whole(mode: RoutingRequest, cost: Floats) -> None:
    logits = _logits(1000, 1 if len(cost) == 2 else 3)
    rule, whole = _rule(mode, cost, logits), route(logits, cost, mode)
    parts = [rule(part) for part in np.array_split(logits, 7)]
    assert np.array_equal(np.concatenate([p.assignment for p in parts]), whole.assignment)
    assert np.array_equal(np.concatenate([p.difficulty for p in parts]), whole.difficulty)
    assert {part.threshold for part in parts} == {whole.threshold}


@pytest.mark.parametrize("bound", [0.1, 0.3, 0.5, 1 / 3, float(np.float32(0.1))])
def test_bounds_of_adm_are_compared_exactly_with_float32_difficulties(bound: float) -> None:
    near = np.float32(bound)
    difficulty = np.array([np.nextafter(near, 0), near, np.nextafter(near, 1)], np.float32)
    logits = np.log(difficulty / (1 - difficulty))[:, None]
    found = Rule(TWO, 0.0, bounds=(bound,))(logits)
    assert np.array_equal(found.assignment == 0, found.difficulty.astype(np.float64) >= bound)


def test_only_adm_and_heavy_ratio_need_statistics() -> None:
    assert not RoutingRequest().needs_statistics
    assert not RoutingRequest(0.5).needs_statistics
    assert RoutingRequest(adaptive=True).needs_statistics
    assert _ratio(0).needs_statistics


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("cost", [TWO, THREE], ids=["two", "three"])
def test_logits_that_are_no_numbers_are_refused(cost: Floats, value: float) -> None:
    logits = _logits(50, 1 if len(cost) == 2 else 3)
    logits[17, -1] = value
    with pytest.raises(ImageError, match="NaN or infinite"):
        fixed_rule(cost, 0.0)(logits)


def _ratio(ratio: float) -> RoutingRequest:
    return RoutingRequest(heavy_ratio=ratio)


@pytest.mark.parametrize(
    "rule",
    [
        fixed_rule(TWO, 0.3),
        Rule(TWO, 0.0),
        Rule(TWO, 0.0, cut=np.float32(-np.inf)),
        Rule(TWO, 0.0, cut=np.float32(1.25)),
        Rule(TWO, 0.0, bounds=(0.625,)),
        Rule(TWO, 0.0, bounds=(math.inf,)),
        Rule(THREE, 0.0, bounds=(0.7, 0.1)),
        Rule(THREE, 0.0, bounds=(0.5 + 2**-40, 0.5)),
    ],
)
def test_limits_label_pixels_as_the_rule_does(rule: Rule) -> None:
    """Pixels at a limit and beside it, too."""
    limits = rule.limits
    assert limits is not None
    finite = limits[np.isfinite(limits)]
    ties = np.log(finite / (1 - finite)) if rule.bounds is not None else finite
    near = [np.nextafter(ties, np.float32(end), dtype=np.float32) for end in (-99, 99)]
    special = np.concatenate([[0, -0.0, 1.25, -50, 50], ties, *near]).astype(np.float32)
    first = np.concatenate([special, _logits(500, 1)[:, 0]])
    logits = first[:, None]
    if len(rule.cost) == 3:
        logits = np.stack([first, np.zeros_like(first), -first], axis=1)
    routing = rule(logits)
    keys = difficulty_logit(logits) if rule.bounds is None else routing.difficulty
    assert np.array_equal(routing.assignment, (keys[:, None] < limits).sum(axis=1))
    assert rule.threshold == routing.threshold


def test_limits_do_not_tell_where_utilities_decide() -> None:
    assert Rule(THREE, 0.3).limits is None
    assert Rule(THREE, 0.0, cut=np.float32(0.5)).limits is None
