"""Routing on the device against `Rule`."""

import numpy as np
import pytest
import torch

from pcsr.runtime.geometry.grid import Floats
from pcsr.runtime.kernels import DeviceRule, RoutingBuffers, route
from pcsr.runtime.routing.rule import Rule, fixed_rule, heavy_count
from tests import tolerances

from .scenes import routing_buffers, tensor

COSTS = {
    2: np.array([0.68, 0.32], dtype=np.float32),
    3: np.array([0.5, 0.3, 0.2], dtype=np.float32),
    5: np.array([0.4, 0.25, 0.15, 0.12, 0.08], dtype=np.float32),
}
each_count = pytest.mark.parametrize("count", list(COSTS))


def _logits(count: int, pixels: int, spread: float = 3.0) -> Floats:
    columns = 1 if count == 2 else count
    logits = np.random.default_rng((count, pixels)).normal(0, spread, (pixels, columns))
    return logits.astype(np.float32)


def _fixed(cost: Floats, k: float) -> DeviceRule:
    """`fixed_rule` on the device."""
    cut = fixed_rule(cost, k).cut
    if cut is None:
        return DeviceRule(len(cost), "penalty", torch.from_numpy(np.float32(k) * np.log(cost)))
    return DeviceRule(2, "cut", torch.tensor([cut]))


def _routed(logits: Floats, rule: DeviceRule) -> RoutingBuffers:
    out = routing_buffers(rule.upsamplers, len(logits))
    out.counts.fill_(99)
    route(tensor(logits.T), rule, out)
    return out


def _assert_as(rule: Rule, device_rule: DeviceRule, logits: Floats) -> RoutingBuffers:
    found, expected = _routed(logits, device_rule), rule(logits)
    assert np.array_equal(found.labels.numpy(), expected.assignment)
    gap = np.abs(found.difficulty.numpy() - expected.difficulty)
    assert gap.max() <= tolerances.SIGMOID
    _assert_lists_are_those_of_the_labels(found)
    assert found.unfit.item() == 0
    return found


def _assert_lists_are_those_of_the_labels(found: RoutingBuffers) -> None:
    labels = found.labels.numpy()
    for upsampler, (pixels, count) in enumerate(zip(found.lists, found.counts, strict=True)):
        listed = np.sort(pixels[: int(count)].numpy())
        assert np.array_equal(listed, np.flatnonzero(labels == upsampler))


@each_count
@pytest.mark.parametrize("k", [-25.0, 0.0, 0.5, 25.0])
def test_fixed_k(count: int, k: float) -> None:
    cost = COSTS[count]
    logits = _logits(count, 3001)
    if count > 2:
        logits = (logits + k * np.log(cost)).astype(np.float32)
    rule, device_rule = fixed_rule(cost, k), _fixed(cost, k)
    found = _assert_as(rule, device_rule, logits)
    assert count == 2 or len(np.unique(found.labels)) == count


@each_count
def test_bounds_of_difficulty(count: int) -> None:
    bounds = tuple(np.linspace(0.9, 0.2, count - 1).astype(np.float32).tolist())
    values = torch.tensor(bounds, dtype=torch.float32)
    rule = Rule(COSTS[count], 0.0, bounds=bounds)
    found = _assert_as(rule, DeviceRule(count, "bounds", values), _logits(count, 3001))
    assert len(np.unique(found.labels)) == count


def test_infinite_bounds_make_all_pixels_light() -> None:
    values = torch.full((2,), torch.inf)
    found = _routed(_logits(3, 100), DeviceRule(3, "bounds", values))
    assert (found.labels == 2).all()
    assert not found.counts.any()


@each_count
@pytest.mark.parametrize("cut", [-np.inf, -0.7, 0.0, 1.3, np.inf])
def test_a_cut_divides_the_halves(count: int, cut: float) -> None:
    value = np.float32(cut)
    logits = _logits(count, 3001)
    logits[::7] = logits[0]
    device_rule = DeviceRule(count, "cut", torch.tensor([cut], dtype=torch.float32))
    found = _assert_as(Rule(COSTS[count], 0.0, cut=value), device_rule, logits)
    is_heavy = found.labels.numpy() < heavy_count(count)
    assert (cut == np.inf) == (not is_heavy.any())
    assert (cut == -np.inf) == is_heavy.all()


@each_count
def test_level_pixels_go_to_the_lighter(count: int) -> None:
    """Rounded logits: many are level with each other or the cut."""
    logits = np.round(_logits(count, 2000, 1.5))
    flat = np.full(count, 0.5, dtype=np.float32)
    _assert_as(fixed_rule(flat, 0), _fixed(flat, 0), logits)
    zero = torch.zeros(1)
    _assert_as(Rule(flat, 0.0, cut=np.float32(0)), DeviceRule(count, "cut", zero), logits)


@pytest.mark.parametrize("pixels", [1, 8192, 8193, 70_001])
def test_any_number_of_pixels(pixels: int) -> None:
    cost = COSTS[2]
    _assert_as(fixed_rule(cost, 0), _fixed(cost, 0), _logits(2, pixels))


@each_count
@pytest.mark.parametrize("logit", [-200.0, -88.0, 0.0, 88.0, 200.0])
def test_extreme_logits(count: int, logit: float) -> None:
    logits = np.zeros((40, 1 if count == 2 else count), dtype=np.float32)
    logits[:, 0] = logit
    _assert_as(fixed_rule(COSTS[count], 0), _fixed(COSTS[count], 0), logits)


@each_count
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_logits_that_are_no_numbers_are_light_and_counted(count: int, value: float) -> None:
    logits = _logits(count, 500)
    logits[7, 0] = logits[499, -1] = value
    for kind, size in (("cut", 1), ("bounds", count - 1), ("penalty", count)):
        if (kind, count) == ("penalty", 2):
            continue
        found = _routed(logits, DeviceRule(count, kind, torch.zeros(size)))  # type: ignore[arg-type]
        assert found.unfit.item() == 2
        assert found.labels[7] == found.labels[499] == count - 1
        _assert_lists_are_those_of_the_labels(found)


def test_pixels_that_are_no_numbers_are_counted_over_bands() -> None:
    rule, out = DeviceRule(2, "cut", torch.zeros(1)), routing_buffers(2, 3)
    for logits in ([0.0, np.nan, 1.0], [np.nan, np.nan, 2.0]):
        route(torch.tensor([logits]), rule, out)
    assert out.unfit.item() == 3
    assert out.counts.tolist() == [1]


def test_values_that_do_not_fit_their_rule_are_refused() -> None:
    for count, kind, size in (
        (2, "cut", 2),
        (3, "bounds", 3),
        (3, "penalty", 2),
        (2, "penalty", 2),
    ):
        with pytest.raises(ValueError, match=r"expected|no rule"):
            DeviceRule(count, kind, torch.zeros(size))  # type: ignore[arg-type]
    out = routing_buffers(2, 8)
    with pytest.raises(ValueError, match="logits: expected"):
        route(torch.zeros((3, 8)), DeviceRule(2, "cut", torch.zeros(1)), out)
