"""Convolutions and what follows them alone: a sum, an activation, both or neither."""

from collections.abc import Container
from dataclasses import dataclass

from torch import Tensor

from .graph import Node, OperatorGraph, uses_of
from .operators import convolution_options


@dataclass(frozen=True)
class ConvolutionChain:
    """A convolution and the nodes behind it, whose results between nothing else uses.

    Conv(x, w, b) -> c, Add(c, y) -> s, Relu(s) -> z is a chain that adds y, with slope 0 and the
    output z.
    """

    conv: Node
    behind: tuple[Node, ...]
    """An Add, a Relu or LeakyRelu, both in this order, or none."""

    @property
    def nodes(self) -> tuple[Node, ...]:
        """All nodes, in their order."""
        return self.conv, *self.behind

    @property
    def output(self) -> str:
        """The result of the last node."""
        return self.nodes[-1].outputs[0]

    @property
    def bias(self) -> str:
        """The convolution's bias, or ""."""
        return self.conv.inputs[2] if len(self.conv.inputs) > 2 else ""

    @property
    def added(self) -> str:
        """Tells what is added to the convolution's result, or ""."""
        names = [name for node in self.behind if node.op == "Add" for name in node.inputs]
        return next((name for name in names if name != self.conv.outputs[0]), "")

    @property
    def slope(self) -> float:
        """The slope of negative results: 0 for ReLU, 1 for no activation."""
        last = self.nodes[-1]
        slopes = {"Relu": 0.0, "LeakyRelu": last.attributes.get("alpha", 0.01)}
        return float(slopes.get(last.op, 1.0))

    @property
    def inputs(self) -> tuple[str, ...]:
        """The inputs of the chain as one node: x, weight, bias or "", and what is added, if any."""
        added = (self.added,) if self.added else ()
        return (*self.conv.inputs[:2], self.bias, *added)


class ChainFinder:
    """Finds the chains of a graph."""

    def __init__(self, graph: OperatorGraph) -> None:
        self._constants, uses = graph.constants, uses_of(graph)
        self._next = {name: n for n in graph.nodes for name in n.inputs if uses[name] == 1}

    def following(self, name: str) -> Node | None:
        """Gives the one node that uses a value; None where there are several, or an output."""
        return self._next.get(name)

    def chain(self, conv: Node, taken: Container[str]) -> ConvolutionChain:
        """Gives the chain of a Conv or ConvTranspose, up to the first node whose output is taken.
        A sum belongs to it where both sides can be of one shape.
        """
        behind, following = list[Node](), self._free(conv, taken)
        if following and following.op == "Add":
            may_broadcast = conv.op != "Conv" or self._constants.keys() & {*following.inputs}
            if may_broadcast or not keeps_size(conv, self._constants[conv.inputs[1]]):
                return ConvolutionChain(conv, ())
            behind, following = [following], self._free(following, taken)
        if following and following.op in ("Relu", "LeakyRelu"):
            behind.append(following)
        return ConvolutionChain(conv, tuple(behind))

    def _free(self, node: Node, taken: Container[str]) -> Node | None:
        following = self.following(node.outputs[0])
        return None if following is None or following.outputs[0] in taken else following


def keeps_size(conv: Node, weight: Tensor) -> bool:
    """Says whether the result of a convolution is as high and wide as its input."""
    stride, dilation, pads = convolution_options(conv)
    needed = tuple(d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True))
    total = (pads[0] + pads[2], pads[1] + pads[3])
    return max(stride) == 1 and total == needed and pads[:2] == pads[2:]
