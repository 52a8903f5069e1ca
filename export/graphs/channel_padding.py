"""Channels padded to whole blocks: an exact rewrite of an ONNX graph.

On CPUs ONNX Runtime keeps images in blocks of 16 channels on AVX-512 and of 8 on AVX2; a
convolution whose groups fill no block takes a slow path, with copies into that layout and out of
it. The tensor cores of GPUs take half-precision channels by eights. Padded channels have zero
weights towards everything that reads them.
"""

import copy
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from .analysis import shapes_at
from .layers import Arrays, Layers, TensorFamilies, groups, joins_channels, rewritten

CPU_BLOCK, GPU_BLOCK = 16, 8
MOST_GROWTH = 1.4
EXAMPLE_PX = 16


def pad_channels(model: onnx.ModelProto, block: int = CPU_BLOCK) -> onnx.ModelProto:
    """Returns a copy whose convolutions have groups of a multiple of `block` channels, between
    input and outputs and where that adds at most 40 %. Outputs stay as they are up to rounding,
    and so do the channels of what is added to them.
    """
    layers = Layers(model)
    padding = Padding(layers, block)
    nodes = [new for node in layers.nodes for new in padding.rewritten(node)]
    return rewritten(model, nodes, padding.weights)


@dataclass(frozen=True)
class Places:
    """Tells where each real channel lies among `count` padded ones."""

    of: tuple[int, ...]
    count: int

    @property
    def changed(self) -> bool:
        return self.count != len(self.of)


class Padding:
    """Decides which tensors of a graph get padded channels, and rewrites its nodes accordingly.
    `weights` holds those of the graph, and grows by new ones.

    For image -> a [12 channels] -> ReLU b -> out, with blocks of 16: a and b are one family, which
    a convolution reads, and 16 channels are 33 % more, so its places are 0 … 11 of 16. The
    convolution of a gets weights [16, 3, 3, 3] whose last four rows are 0, that of out [3, 16, 3,
    3] whose last four columns are. Had a Sigmoid read b, which needs its real channels, then ReLU
    would write `b_padded`, and a Gather of the places 0 … 11 would make b of that.

    widened: the output whose family is padded, and no other; else outputs keep theirs.
    """

    def __init__(self, layers: Layers, block: int, widened: str | None = None) -> None:
        self.weights: Arrays = dict(layers.weights)
        self._block, self._families = block, TensorFamilies()
        shapes = shapes_at(layers.model, {"h": EXAMPLE_PX, "w": EXAMPLE_PX})
        self._channels = {
            name: shape[1]
            for name, shape in shapes.items()
            if len(shape) == 4 and name not in layers.weights
        }
        self._groups: dict[str, set[int]] = {name: set() for name in self._channels}
        self._read: set[str] = set()
        self._joined = {n.output[0]: list(n.input) for n in layers.nodes if self._joins(n)}
        self._families.fix(value.name for value in layers.model.graph.input)
        for node in layers.nodes:
            self._bind(node)
        if widened is None:
            self._families.fix(part for name in layers.outputs for part in self._parts(name))
        else:
            inside = {n for part in self._parts(widened) for n in self._families.members(part)}
            self._families.fix(self._channels.keys() - inside)
        self._settle([node for node in layers.nodes if groups(node) > 1])
        self._real = layers.outputs - {widened}
        for node in layers.nodes:
            if not self._knows_places(node):
                self._real |= set(node.input)

    def rewritten(self, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
        """Yields the node in the new graph, and what restores channels for other readers."""
        new = copy.deepcopy(node)
        if self._knows_places(node):
            if node.op_type == "Conv":
                new.input[1:] = self._padded_weights(node)
            new.input[:] = [self.renamed(name) for name in new.input]
            new.output[:] = [self.renamed(name) for name in new.output]
        yield new
        for name in node.output:
            if self.renamed(name) != name:
                yield self._restored(name)

    def _joins(self, node: onnx.NodeProto) -> bool:
        return joins_channels(node) and self._images(node)

    def _images(self, node: onnx.NodeProto) -> bool:
        return all(name in self._channels for name in node.input)

    def _parts(self, name: str) -> list[str]:
        """Returns the tensors that a joined one is made of; else the tensor itself."""
        joined = self._joined.get(name)
        return [part for each in joined for part in self._parts(each)] if joined else [name]

    def places(self, name: str) -> Places:
        """Tells where the channels of a tensor lie in its padded form."""
        parts = [self._own_places(part) for part in self._parts(name)]
        starts = itertools.accumulate((part.count for part in parts[:-1]), initial=0)
        of = tuple(start + c for start, part in zip(starts, parts, strict=True) for c in part.of)
        return Places(of, sum(part.count for part in parts))

    def _own_places(self, name: str) -> Places:
        family, count = self._families.members(name), self._channels[name]
        numbers = self._family_groups(name)
        most = max(numbers, default=1)
        each = count // most
        wide = -(-each // self._block) * self._block
        unfit = each == 1 or wide > MOST_GROWTH * each or len(numbers - {1, most}) > 0
        fixed = not self._families.fixed.isdisjoint(family)
        if fixed or self._read.isdisjoint(family) or unfit:
            return Places(tuple(range(count)), count)
        return Places(tuple(c // each * wide + c % each for c in range(count)), wide * most)

    def _family_groups(self, name: str) -> set[int]:
        """Collects the numbers of groups of the convolutions that read or write the family."""
        return {n for one in self._families.members(name) for n in self._groups[one]}

    def _knows_places(self, node: onnx.NodeProto) -> bool:
        if node.op_type == "Conv" or self._joins(node):
            return True
        if node.op_type == "Add" and self._images(node):
            return self._channels[node.input[0]] == self._channels[node.input[1]]
        return node.op_type in ("Relu", "LeakyRelu")

    def _bind(self, node: onnx.NodeProto) -> None:
        if node.op_type == "Conv":
            parts = self._parts(node.input[0])
            self._read |= set(parts)
            for name in (*parts, node.output[0]):
                self._groups[name].add(groups(node))
            if groups(node) > 1 and node.input[0] in self._joined:
                self._families.fix([*parts, node.output[0]])
        elif self._joins(node):
            return
        elif self._knows_places(node):
            if any(name in self._joined for name in node.input):
                self._families.fix(part for name in node.input for part in self._parts(name))
            self._families.unite([*node.input, *node.output])
        else:
            self._families.fix(node.output)

    def _settle(self, grouped: Sequence[onnx.NodeProto]) -> None:
        """Fixes what a grouped convolution cannot have padded on both sides alike."""
        before = -1
        while before != (before := len(self._families.fixed)):
            for node in grouped:
                ends = (node.input[0], node.output[0])
                fits = [self._own_places(name).changed for name in ends]
                fits += [self._family_groups(name) <= {1, groups(node)} for name in ends]
                if not all(fits):
                    self._families.fix(ends)

    def renamed(self, name: str) -> str:
        """Returns the name under which the padded form of a tensor is there."""
        is_padded = name in self._channels and self.places(name).changed
        return f"{name}_padded" if is_padded and name in self._real else name

    def _restored(self, name: str) -> onnx.NodeProto:
        places, indices = self.places(name), f"{name}_places"
        self.weights[indices] = np.array(places.of, dtype=np.int64)
        return helper.make_node("Gather", [f"{name}_padded", indices], [name], axis=1)

    def _padded_weights(self, node: onnx.NodeProto) -> list[str]:
        before, after = self.places(node.input[0]), self.places(node.output[0])
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


def _spread(weight: NDArray[Any], before: Places, after: Places, count: int) -> NDArray[np.float32]:
    """Spreads weights [outputs, inputs / count, …] among padded channels."""
    outputs, inputs = weight.shape[0] // count, weight.shape[1]
    spread = np.zeros((after.count, before.count // count, *weight.shape[2:]), dtype=np.float32)
    for group in range(count):
        rows = after.of[group * outputs : (group + 1) * outputs]
        first = group * (before.count // count)
        columns = [c - first for c in before.of[group * inputs : (group + 1) * inputs]]
        spread[np.ix_(rows, columns)] = weight[group * outputs : (group + 1) * outputs]
    return spread
