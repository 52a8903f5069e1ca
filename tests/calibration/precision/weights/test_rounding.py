from collections.abc import Collection
from functools import partial

import numpy as np
import onnx
import pytest

from pcsr.calibration.precision.cpu_graph import cpu_graph
from pcsr.calibration.precision.tensorrt_graph import grid_of, tensorrt_graph
from pcsr.calibration.precision.weights.moments import Moments, collect_moments
from pcsr.calibration.precision.weights.rounding import (
    Rounding,
    Storage,
    nearest,
    rounded_rows,
)
from pcsr.metrics import bicubic_resize
from tests.calibration.precision.nets import Array, Net, image, ranges_of, run

CHOSEN = ["node_b", "node_c", "node_d"]


def photo(seed: int) -> Array:
    """Neighbours alike, as in photos."""
    coarse = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    smooth: Array = bicubic_resize(coarse, 64, 72).transpose(2, 0, 1)[None].astype(np.float32) / 255
    return smooth


def network(group: int = 1) -> onnx.ModelProto:
    net = Net().conv("image", "a", 3).conv("a", "b", group=group).add("Relu", ["b"], "r")
    net.conv("r", "c", group=group).add("Concat", ["a", "c"], "j", axis=1)
    return net.conv("j", "d", inputs=16, size=1).conv("d", "out", outputs=3).build()


def mean_square(model: onnx.ModelProto, quantised: onnx.ModelProto, x: Array) -> float:
    return float(np.mean((run(quantised, x) - run(model, x)) ** 2))


def both(model: onnx.ModelProto, chosen: Collection[str]) -> tuple[float, float]:
    """Mean squared errors on another image: of the nearest weights, of those that fit."""
    x = photo(1)
    moments = collect_moments(model, [x], 1)
    write = partial(cpu_graph, model, ranges_of(model, x), chosen)
    other = photo(2)
    return mean_square(model, write(), other), mean_square(
        model, write(rounding=Rounding(moments)), other
    )


@pytest.mark.parametrize("group", [1, 4])
def test_errors_that_inputs_have_in_common_are_made_up_for(group: int) -> None:
    """Coarser weights than 8 bits, which alone would hide behind the activations."""
    model, x, other = network(group), photo(1), photo(2)
    moments = collect_moments(model, [x], 1)
    ranges = ranges_of(model, x)
    alone = tensorrt_graph(model, ranges, CHOSEN, "int8", partial(nearest, grid=four_bits))
    fit = tensorrt_graph(model, ranges, CHOSEN, "int8", Rounding(moments, four_bits))
    assert mean_square(model, fit, other) < mean_square(model, alone, other) / 2


def four_bits(values: Array) -> Array:
    whole: Array = np.clip(16 * np.rint(values / 16), -112, 112)
    return whole


def test_eight_bits_lose_less_on_another_image() -> None:
    plain, fit = both(network(), CHOSEN)
    assert fit < plain


def test_the_bias_takes_the_mean_of_what_is_left() -> None:
    """shift = E[(W - rounded W) x], for every output; inputs that vary alone change no rounding."""
    random = np.random.default_rng(3)
    weight, mean = random.normal(size=(4, 3, 1, 1)), random.normal(size=3)
    steps = np.full(4, 0.25)
    moments = {"one": Moments(mean[None], np.eye(3)[None])}
    (whole,), (shift,) = Rounding(moments)("one", weight, steps, Storage.plain(3))
    np.testing.assert_array_equal(whole, np.rint(weight / 0.25))
    left = weight[:, :, 0, 0] - 0.25 * whole[:, :, 0, 0]
    np.testing.assert_allclose(shift, left @ mean)
    assert np.abs(shift).max() > 0.01


def test_factors_of_the_inputs_are_taken_out_of_the_moments() -> None:
    """Weights times a factor, of inputs divided by it, are the same layer."""
    random = np.random.default_rng(4)
    weight, factors = random.normal(size=(5, 6, 1, 1)), np.array([0.25, 1.0, 0.5, 0.25, 1.0, 0.125])
    x = random.normal(size=(6, 200)) + 1
    divided = Moments(
        (x / factors[:, None]).mean(axis=1)[None], np.cov(x / factors[:, None], bias=True)[None]
    )
    whole = Moments(x.mean(axis=1)[None], np.cov(x, bias=True)[None])
    steps = np.full(5, 0.02)
    found = Rounding({"one": whole})("one", weight, steps, Storage(factors, np.ones(6, int)))
    expected = Rounding({"one": divided})("one", weight, steps, Storage.plain(6))
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_allclose(found[1], expected[1])


def test_copies_of_inputs_have_weights_between_those_of_one() -> None:
    """Of the same inputs once, and three times with the mean of three weights each."""
    rows = np.random.default_rng(6).normal(size=(7, 4)) * 3
    once = rounded_rows(rows, np.eye(4))
    found = rounded_rows(rows, np.eye(4), np.array([1, 3, 3, 1]))
    np.testing.assert_array_equal(found[:, [0, 3]], once[:, [0, 3]])
    np.testing.assert_allclose(found[:, 1:3], np.rint(3 * rows[:, 1:3]) / 3)
    assert np.abs(found - rows).max(axis=0)[1] < np.abs(once - rows).max(axis=0)[1] / 2


def test_copies_of_outputs_make_up_for_each_other() -> None:
    random = np.random.default_rng(7)
    weight, steps = random.normal(size=(6, 5, 1, 1)), np.full(6, 0.1)
    moments = {"one": Moments(random.normal(size=(1, 5)), np.eye(5)[None])}
    storage = Storage(np.ones(5), np.ones(5, int), outputs=2)
    whole, shift = Rounding(moments)("one", weight, steps, storage)
    np.testing.assert_allclose(whole.mean(axis=0), np.rint(weight / 0.05) / 2)
    left = (weight - 0.1 * whole)[..., 0, 0]
    np.testing.assert_allclose(shift, left @ moments["one"].mean[0])


def test_rows_are_best_for_inputs_of_full_correlation() -> None:
    random = np.random.default_rng(5)
    rows = random.normal(size=(20, 10)) * 3
    found = rounded_rows(rows, np.ones((10, 10)))
    assert np.abs(found - rows).max() < 2
    error = (found - rows).sum(axis=1)
    assert np.abs(error).max() <= 0.6
    assert np.abs((np.rint(rows) - rows).sum(axis=1)).max() > 1


def test_inputs_that_are_always_zero_do_no_harm() -> None:
    found = rounded_rows(np.array([[1.4, 2.6, -3.3]]), np.zeros((3, 3)))
    assert found.tolist() == [[1.0, 3.0, -3.0]]


def test_weights_stay_within_their_range() -> None:
    rows = np.full((2, 9), 127.0)
    assert np.abs(rounded_rows(rows + 0.4, np.ones((9, 9)))).max() == 127


@pytest.mark.parametrize(
    ("precision", "expected"),
    [("int8", [0, 3, 127, 127, -127]), ("fp8", [0.40625, 3.25, 192, 448, -448])],
)
def test_numbers_of_the_format_are_taken(precision: str, expected: list[float]) -> None:
    values = grid_of(precision)(np.array([0.4, 3.3, 198.0, 1000.0, -1e6]))
    assert values.tolist() == expected


def test_layers_left_in_float32_between_quantised_ones_are_float32() -> None:
    """ONNX Runtime rounds their weights to 8 bits by itself, unless it is told not to."""
    from pcsr.runtime.onnxruntime_session import SETTINGS

    net = Net().conv("image", "a", 3).conv("a", "b").add("Relu", ["b"], "r")
    net.conv("r", "c").add("Relu", ["c"], "s").conv("s", "d").conv("d", "out", outputs=3)
    spread = np.array([1, 1e-3, 1e-3, 1e-3, 1e-3, 1e-3, 1e-3, 1e-3])
    model, x = net.scale("c", spread).build(), image()
    ranges = ranges_of(model, x)
    quantised = cpu_graph(model, ranges, ["node_b", "node_d"])
    rounded = onnx.ModelProto()
    rounded.CopyFrom(quantised)
    for node in rounded.graph.node:
        if node.output[0] == "s":  # a reader that no fusion crosses
            rounded.graph.output.append(onnx.ValueInfoProto(name="s"))
    found, expected = run(quantised, x, SETTINGS), run(rounded, x, {**SETTINGS})
    np.testing.assert_array_equal(found, expected)
    assert np.abs(run(quantised, x) - expected).max() > 0
