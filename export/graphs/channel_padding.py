"""Channels padded to whole blocks: an exact rewrite of an ONNX graph.

On CPUs ONNX Runtime keeps images in blocks of 16 channels on AVX-512 and of 8 on AVX2; a
convolution whose groups fill no block takes a slow path, with copies into that layout and out of
it. The tensor cores of GPUs take half-precision channels by eights. Padded channels have zero
weights towards everything that reads them.
"""

import copy
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from .analysis import shapes_at
from .layers import Arrays, Layers, groups, joins_channels, rewritten

CPU_BLOCK, GPU_BLOCK = 16, 8
MOST_GROWTH = 1.4
EXAMPLE_PX = 16


def pad_channels(model: onnx.ModelProto, block: int = CPU_BLOCK) -> onnx.ModelProto:
    """Returns a copy whose convolutions have groups of a multiple of `block` channels, between
    input and outputs and where that adds at most 40 %. Its outputs are those of `model`, up to
    rounding.
    """
    layers = Layers(model)
    padding = _Padding(layers, block)
    nodes = [new for node in layers.nodes for new in padding.rewritten(node)]
    return rewritten(model, nodes, padding.weights)


@dataclass(frozen=True)
class _Places:
    """Tells where each real channel lies among `count` padded ones."""

    of: tuple[int, ...]
    count: int

    @property
    def changed(self) -> bool:
        return self.count != len(self.of)


@dataclass
class _Family:
    """Tensors share their channels' places because they are added or mapped elementwise."""

    channels: int
    block: int
    groups: set[int] = field(default_factory=set)
    """The numbers of groups of the convolutions that read or write them."""
    is_read: bool = False
    """Whether a convolution reads them, directly or joined."""
    fixed: bool = False

    @property
    def places(self) -> _Places:
        real = range(self.channels)
        most = max(self.groups, default=1)
        each = self.channels // most
        wide = -(-each // self.block) * self.block
        unfit = each == 1 or wide > MOST_GROWTH * each or len(self.groups - {1, most}) > 0
        if self.fixed or not self.is_read or unfit:
            return _Places(tuple(real), self.channels)
        return _Places(tuple(c // each * wide + c % each for c in real), wide * most)


class _Padding:
    """Decides which tensors of a graph get padded channels, and rewrites its nodes accordingly.
    `weights` holds those of the graph, and grows by new ones.

    For image -> a [12 channels] -> ReLU b -> out, with blocks of 16: a and b are one family, which
    a convolution reads, and 16 channels are 33 % more, so its places are 0 … 11 of 16. The
    convolution of a gets weights [16, 3, 3, 3] whose last four rows are 0, that of out [3, 16, 3,
    3] whose last four columns are. Had a Sigmoid read b, which needs its real channels, then ReLU
    would write `b_padded`, and a Gather of the places 0 … 11 would make b of that.
    """

    def __init__(self, layers: Layers, block: int) -> None:
        self.weights: Arrays = dict(layers.weights)
        graph = layers.model.graph
        shapes = shapes_at(layers.model, {"h": EXAMPLE_PX, "w": EXAMPLE_PX})
        self._families = {
            name: _Family(shape[1], block)
            for name, shape in shapes.items()
            if len(shape) == 4 and name not in layers.weights
        }
        self._joined = {n.output[0]: list(n.input) for n in layers.nodes if self._joins(n)}
        self._fix([value.name for value in graph.input])
        for node in layers.nodes:
            self._bind(node)
        self._settle([node for node in layers.nodes if groups(node) > 1])
        self._real = set(layers.outputs)
        for node in layers.nodes:
            if not self._knows_places(node):
                self._real |= set(node.input)

    def rewritten(self, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
        """Yields the node in the new graph, and what restores channels for other readers."""
        new = copy.deepcopy(node)
        if self._knows_places(node):
            if node.op_type == "Conv":
                new.input[1:] = self._padded_weights(node)
            new.input[:] = [self._renamed(name) for name in new.input]
            new.output[:] = [self._renamed(name) for name in new.output]
        yield new
        for name in node.output:
            if self._renamed(name) != name:
                yield self._restored(name)

    def _joins(self, node: onnx.NodeProto) -> bool:
        return joins_channels(node) and self._images(node)

    def _images(self, node: onnx.NodeProto) -> bool:
        return all(name in self._families for name in node.input)

    def _parts(self, name: str) -> list[str]:
        """Returns the tensors that a joined one is made of; else the tensor itself."""
        joined = self._joined.get(name)
        return [part for each in joined for part in self._parts(each)] if joined else [name]

    def _places(self, name: str) -> _Places:
        parts = [self._families[part].places for part in self._parts(name)]
        starts = itertools.accumulate((part.count for part in parts[:-1]), initial=0)
        of = tuple(start + c for start, part in zip(starts, parts, strict=True) for c in part.of)
        return _Places(of, sum(part.count for part in parts))

    def _knows_places(self, node: onnx.NodeProto) -> bool:
        if node.op_type == "Conv" or self._joins(node):
            return True
        if node.op_type == "Add" and self._images(node):
            return self._families[node.input[0]].channels == self._families[node.input[1]].channels
        return node.op_type in ("Relu", "LeakyRelu")

    def _bind(self, node: onnx.NodeProto) -> None:
        if node.op_type == "Conv":
            self._families[node.output[0]].groups.add(groups(node))
            for part in self._parts(node.input[0]):
                self._families[part].is_read = True
                self._families[part].groups.add(groups(node))
            if groups(node) > 1 and node.input[0] in self._joined:
                self._fix([*self._parts(node.input[0]), node.output[0]])
        elif self._joins(node):
            return
        elif self._knows_places(node):
            if any(name in self._joined for name in node.input):
                self._fix([part for name in node.input for part in self._parts(name)])
            self._unite([*node.input, *node.output])
        else:
            self._fix(node.output)

    def _unite(self, names: Sequence[str]) -> None:
        families = [self._families[name] for name in names]
        one = _Family(
            families[0].channels,
            families[0].block,
            set().union(*(family.groups for family in families)),
            any(family.is_read for family in families),
            any(family.fixed for family in families),
        )
        for name, family in self._families.items():
            if any(family is other for other in families):
                self._families[name] = one

    def _fix(self, names: Sequence[str]) -> None:
        for name in names:
            if name in self._families:
                self._families[name].fixed = True

    def _settle(self, grouped: Sequence[onnx.NodeProto]) -> None:
        """Fixes what a grouped convolution cannot have padded on both sides alike."""
        before = None
        while before != (before := [family.fixed for family in self._families.values()]):
            for node in grouped:
                ends = (node.input[0], node.output[0])
                fits = [self._families[name].places.changed for name in ends]
                fits += [self._families[name].groups <= {1, groups(node)} for name in ends]
                if not all(fits):
                    self._fix(ends)

    def _renamed(self, name: str) -> str:
        is_padded = name in self._families and self._places(name).changed
        return f"{name}_padded" if is_padded and name in self._real else name

    def _restored(self, name: str) -> onnx.NodeProto:
        places, indices = self._places(name), f"{name}_places"
        self.weights[indices] = np.array(places.of, dtype=np.int64)
        return helper.make_node("Gather", [f"{name}_padded", indices], [name], axis=1)

    def _padded_weights(self, node: onnx.NodeProto) -> list[str]:
        before, after = self._places(node.input[0]), self._places(node.output[0])
        if not before.changed and not after.changed:
            return list(node.input[1:])
        name = f"{node.input[1]}_{before.count}_{after.count}"
        self.weights[name] = _spread(self.weights[node.input[1]], before, after, groups(node))
        if len(node.input) < 3:
            return [name]
        bias = f"{node.input[2]}_{after.count}"
        self.weights[bias] = np.zeros(after.count, dtype=np.float32)
        self.weights[bias][list(after.of)] = self.weights[node.input[2]]
        return [name, bias]


def _spread(
    weight: NDArray[Any], before: _Places, after: _Places, count: int
) -> NDArray[np.float32]:
    """Spreads weights [outputs, inputs / count, …] among padded channels."""
    outputs, inputs = weight.shape[0] // count, weight.shape[1]
    spread = np.zeros((after.count, before.count // count, *weight.shape[2:]), dtype=np.float32)
    for group in range(count):
        rows = after.of[group * outputs : (group + 1) * outputs]
        first = group * (before.count // count)
        columns = [c - first for c in before.of[group * inputs : (group + 1) * inputs]]
        spread[np.ix_(rows, columns)] = weight[group * outputs : (group + 1) * outputs]
    return spread
