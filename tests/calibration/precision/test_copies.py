"""Tensors in copies: what the graph computes with them, which may be, and which are taken."""

from collections.abc import Collection, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import onnx
import pytest

from pcsr.calibration.precision.codes import Code
from pcsr.calibration.precision.copies import (
    COPIES,
    MOST_MORE,
    choose_copies,
    copyable,
    multiplications,
)
from pcsr.calibration.precision.cpu_graph import cpu_graph
from pcsr.calibration.precision.weights.moments import collect_moments
from pcsr.calibration.precision.weights.rounding import Rounding
from pcsr.runtime.cpu.convolutions.integer_graph import read_integer_network

from .nets import Net, image, kinds, ranges_of, run, values

CHOSEN = ["node_b", "node_c", "node_d"]


def network(group: int = 1) -> onnx.ModelProto:
    net = Net().conv("image", "a", 3, 40).conv("a", "b", 40, 32, group=group)
    net.add("Relu", ["b"], "r").conv("r", "c", 32, 32, group=group).add("Relu", ["c"], "s")
    net.add("Concat", ["a", "s"], "j", axis=1).conv("j", "d", 72, 16, size=1)
    return net.add("Relu", ["d"], "t").conv("t", "out", 16, 3, size=1).build()


def test_codes_of_copies_add_up_to_finer_ones() -> None:
    code, x = Code.of(0.0, 255.0, 3), np.linspace(0, 254, 10_000)
    total = sum(np.rint(x + offset) for offset in code.offsets)
    assert np.abs(total / 3 - x).max() <= 0.5 / 3 + 1e-9
    order, copy = code.stored(18)
    assert order.tolist() == [*range(16)] * 3 + [16, 17] * 3
    assert copy.tolist() == [0] * 16 + [1] * 16 + [2] * 16 + [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("group", [1, 4])
@pytest.mark.parametrize("copied", [["a"], ["r"], ["s", "t"], ["a", "r", "s", "t"]])
def test_copies_make_the_error_smaller(group: int, copied: list[str]) -> None:
    """What float32 layers make, what grouped ones make and read, parts of a join, the last."""
    model, x = network(group), image(40, 50)
    ranges, expected = ranges_of(model, x), run(model, x)
    rounding = Rounding(collect_moments(model, [x], 1))
    alone = cpu_graph(model, ranges, CHOSEN, rounding=rounding)
    both = cpu_graph(model, ranges, CHOSEN, copied, rounding)
    errors = [float(np.mean((run(graph, x) - expected) ** 2)) for graph in (alone, both)]
    assert errors[1] < errors[0]
    assert multiplications(both) > multiplications(alone)
    assert kinds(both) == kinds(alone)


def test_all_in_copies_is_a_bit_more() -> None:
    """A quarter of the mean square, if weights and activations both have it."""
    model, x = network(4), image(40, 50)
    ranges, expected = ranges_of(model, x), run(model, x)
    able = copyable(cpu_graph(model, ranges, CHOSEN))
    assert able == ["a", "r", "s", "t"]
    rounding = Rounding(collect_moments(model, [x], 1))
    errors = [
        np.mean((run(cpu_graph(model, ranges, CHOSEN, names, rounding), x) - expected) ** 2)
        for names in ((), able)
    ]
    assert errors[1] < errors[0] / 2.5


def test_own_convolutions_read_them() -> None:
    model, x = network(4), image()
    graph = cpu_graph(model, ranges_of(model, x), CHOSEN, copied=["a", "s"])
    layers = read_integer_network(graph, "out").layers
    assert [layer.outputs for layer in layers] == [40 * COPIES, 32, 32 * COPIES, 16, 3]


def test_what_others_read_is_never_copied() -> None:
    """A float32 layer, an output, a join in one scale, a sum of codes."""
    net = Net().conv("image", "a", 3).conv("a", "b").add("Add", ["a", "b"], "s").conv("s", "c")
    net.add("Concat", ["b", "c"], "j", axis=1).conv("j", "d", 16).conv("d", "e")
    model, x = net.conv("e", "out", outputs=3).build(), image()
    ranges = ranges_of(model, x)
    graph = cpu_graph(model, ranges, ["node_b", "node_c", "node_d"])
    assert copyable(graph) == []
    again = cpu_graph(model, ranges, ["node_b", "node_c", "node_d"], copied=["a", "b", "c", "d"])
    assert again == graph


def test_a_layer_that_became_float32_reads_one() -> None:
    model, x = network(), image()
    graph = cpu_graph(model, ranges_of(model, x), ["node_b", "node_d"], copied=["r", "t"])
    shapes = {name: values(graph, [name], x)[name].shape for name in ("r:u8", "t:u8")}
    assert [shape[-1] for shape in shapes.values()] == [32, 16 * COPIES]


@pytest.mark.parametrize("group", [1, 4, 8])
def test_copies_of_a_layer_that_became_float32(group: int) -> None:
    """It reads what is there as codes alone, and has groups of other channels than copies."""
    model, x = network(group), image(40, 50)
    ranges, expected = ranges_of(model, x), run(model, x)
    rounding = Rounding(collect_moments(model, [x], 1))
    chosen = ["node_b", "node_d"]
    graphs = [cpu_graph(model, ranges, chosen, names, rounding) for names in ((), ("s",))]
    errors = [float(np.mean((run(graph, x) - expected) ** 2)) for graph in graphs]
    assert errors[1] < errors[0]


def quiet(items: Iterable[Any], _label: str) -> AbstractContextManager[Iterable[Any]]:
    return nullcontext(items)


GAIN = {"a": 30.0, "b": 40.0, "c": -5.0, "d": 1.0, "e": 20.0}
MORE = {"a": 10, "b": 20, "c": 5, "d": 5, "e": 1000}


def test_those_are_taken_that_gain_most_for_what_they_add() -> None:
    """a before b, not c, which makes it worse, not e, which is beyond the budget; then d."""

    def error(copied: Collection[str]) -> float:
        return 100 - sum(GAIN[name] for name in copied)

    def count(copied: Collection[str]) -> int:
        return 100 + sum(MORE[name] for name in copied)

    assert choose_copies([*GAIN], error, count, quiet) == ("a", "b", "d")
    assert count(("a", "b", "d")) <= 100 * (1 + MOST_MORE) < count(("a", "b", "e"))
    assert choose_copies([], error, count, quiet) == ()
