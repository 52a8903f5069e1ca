"""Splits the work of an image graph into backbone and tail.

The tail is what computes above the image's resolution: it begins with the operators whose results
are larger images than the input (transposed convolution, resize, pixel shuffle) and holds all that
depends on these. The last layer in front of a pixel shuffle belongs to it, because it makes the
values of the larger image; but where the shuffle ends the network and no layer follows, all layers
work at the image's resolution and there is no tail.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import prod

import onnx
from onnx import shape_inference

from pcsr.errors import VerificationError
from pcsr.export.graphs.analysis import Shapes, node_macs, shapes_at
from pcsr.reading.graph import read_graph_shapes
from pcsr.text import shortened

PROBE = (48, 80)
"""Height and width of the image that is looked at. They differ: by their ratio a tensor is known to
be an image, and no matrix of attention."""


@dataclass(frozen=True)
class ImageWork:
    """The multiply-adds of an image graph, per input pixel."""

    backbone_macs: float
    tail_macs: float
    tail_begins: str | None
    """The first operator of the tail; None where there is none."""

    @property
    def total_macs(self) -> float:
        """All of it."""
        return self.backbone_macs + self.tail_macs

    @property
    def tail_share(self) -> float:
        """The tail's share of it."""
        return self.tail_macs / self.total_macs if self.total_macs else 0.0


@dataclass(frozen=True)
class GraphWork:
    """The multiply-adds of each node of an image graph of PROBE, in the order of the nodes."""

    model: onnx.ModelProto
    shapes: Shapes
    macs: tuple[int, ...]

    @classmethod
    def of(cls, model: onnx.ModelProto) -> "GraphWork":
        """Counts the work of a graph.

        Raises:
            VerificationError: a shape in the graph does not follow from the image's size.
        """
        try:
            shapes = _shapes(model)
            macs = tuple(node_macs(node, shapes) for node in model.graph.node)
        except (shape_inference.InferenceError, KeyError, IndexError, ValueError) as error:
            reason = shortened(str(error), 120)
            raise VerificationError(
                "the work of the network cannot be counted: a shape in its graph does not follow "
                f"from the image's size ({reason})"
            ) from error
        return cls(model, shapes, macs)

    def split(self) -> ImageWork:
        """Tells backbone and tail of a network apart."""
        raising = [i for i in range(len(self.macs)) if self._raises(i)]
        behind = self._behind(raising)
        tail = sum(self.macs[i] for i in behind)
        if not tail:
            return self._work(0, None)
        tail += sum(self.macs[i] for i in self._in_front(raising) - behind)
        with_work = [i for i in raising if self._leads_to_work(i)]
        return self._work(tail, self.model.graph.node[min(with_work)].op_type)

    def macs_towards(self, output: str) -> float:
        """Counts, per input pixel, what an output of the graph needs."""
        needed, total = {output}, 0
        for node, macs in reversed([*zip(self.model.graph.node, self.macs, strict=True)]):
            if needed.intersection(node.output):
                needed.update(node.input)
                total += macs
        return total / prod(PROBE)

    def total(self) -> float:
        """Counts all work of the graph, per input pixel."""
        return sum(self.macs) / prod(PROBE)

    def _work(self, tail: int, begins: str | None) -> ImageWork:
        share = tail / prod(PROBE)
        return ImageWork(self.total() - share, share, begins)

    def _raises(self, index: int) -> bool:
        node = self.model.graph.node[index]
        is_larger = any(_is_larger(self.shapes.get(name, ())) for name in node.output)
        return is_larger and not any(_is_larger(self.shapes.get(name, ())) for name in node.input)

    def _behind(self, indices: Iterable[int]) -> set[int]:
        """Lists these nodes and all that depend on them."""
        found, names = set(indices), set[str]()
        for i, node in enumerate(self.model.graph.node):
            if i in found or names.intersection(node.input):
                found.add(i)
                names.update(node.output)
        return found

    def _leads_to_work(self, index: int) -> bool:
        return any(self.macs[i] for i in self._behind([index]))

    def _in_front(self, raising: Iterable[int]) -> set[int]:
        """Finds the last layer in front of each pixel shuffle: of what moves channels into space,
        and keeps their number of values.
        """
        makers = {name: i for i, node in enumerate(self.model.graph.node) for name in node.output}
        found = set()
        for i in raising:
            node = self.model.graph.node[i]
            counts = {_count(self.shapes, name) for name in (node.input[0], node.output[0])}
            if len(counts) == 1 and not self.macs[i]:
                found |= {max(self._layers_before(i, makers), default=i)}
        return found

    def _layers_before(self, index: int, makers: Mapping[str, int]) -> set[int]:
        """Finds the nearest nodes with multiply-adds on all ways to a node."""
        found, waiting, seen = set(), [index], {index}
        while waiting:
            for name in self.model.graph.node[waiting.pop()].input:
                maker = makers.get(name)
                if maker is None or maker in seen:
                    continue
                seen.add(maker)
                if self.macs[maker]:
                    found.add(maker)
                else:
                    waiting.append(maker)
        return found


def _shapes(model: onnx.ModelProto) -> Shapes:
    """Gives the shapes of all tensors: by the rules of bundles, or, of a graph that they do not
    hold, by those of ONNX.

    Raises:
        ValueError: one is not known.
    """
    try:
        graph = read_graph_shapes(model.SerializeToString())
        return graph.shapes({"image": (1, 3, *PROBE)})
    except ValueError:
        shapes = shapes_at(model, dict(zip("hw", PROBE, strict=True)))
    for node in model.graph.node:
        made = [name for name in node.output if len(shapes[name]) > 1]
        if unknown := [name for name in made if 0 in shapes[name]]:
            raise ValueError(f"that of {unknown[0]}, of {node.op_type}") from None
    return shapes


def _is_larger(shape: tuple[int, ...]) -> bool:
    """Tells whether a shape is that of an image [n, C, rows, columns] larger than the input."""
    if len(shape) != 4 or not all(shape):
        return False
    factors = [Fraction(side, probe) for side, probe in zip(shape[2:], PROBE, strict=True)]
    return factors[0] == factors[1] > 1


def _count(shapes: Shapes, name: str) -> int:
    return prod(shapes.get(name, ()))
