"""Joins: 1x1 convolutions of maps that a residual block ends, made by the block's own kernel."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from pcsr.runtime.torch_backend.graph import Node, OperatorGraph, uses_of

CHANNELS, MOST_MAPS = 64, 4


@dataclass(frozen=True)
class Join:
    """Describes a ResidualBlock and the Pointwise that joins its result with maps before it."""

    key: str
    """A line for people, by which equal ones are known."""
    block: Node = field(compare=False)
    pointwise: Node = field(compare=False)
    keeps: bool = field(compare=False)
    """Whether something else uses the block's result."""
    constants: Mapping[str, Tensor] = field(compare=False)
    dtype: torch.dtype

    @property
    def maps(self) -> tuple[str, ...]:
        """The maps that are joined with the block's result."""
        count: int = self.pointwise.attributes["maps"]
        return self.pointwise.inputs[: count - 1]

    @property
    def inputs(self) -> tuple[str, ...]:
        """The maps that the two read."""
        return tuple(dict.fromkeys((self.block.inputs[0], *self.maps)))

    @property
    def apart(self) -> OperatorGraph:
        """The two as they are."""
        nodes, outputs = (self.block, self.pointwise), self.pointwise.outputs
        return OperatorGraph(self.inputs, outputs, nodes, self.constants)

    @property
    def together(self) -> OperatorGraph:
        """Both as one JoinedBlock."""
        from pcsr.runtime.kernels.convolutions.residual_block import pack_join

        x, packed, biases = self.block.inputs
        known, how = self.constants, self.pointwise.attributes
        of_join, bias = self.pointwise.inputs[how["maps"] : how["maps"] + 2]
        weight = known[of_join][:, : how["outputs"]].t()
        ends = torch.zeros(CHANNELS, dtype=torch.float32)
        if bias:
            ends[: how["outputs"]] = known[bias].to(torch.float32)
        made = {  # named after the join's weight: blocks of a cascade share theirs
            f"{of_join}/{packed}": torch.cat([known[packed], pack_join(weight)]),
            f"{of_join}/{biases}": torch.cat([known[biases], ends]),
        }
        attributes = {"outputs": how["outputs"], "keeps": self.keeps} | {**self.block.attributes}
        kept = self.block.outputs if self.keeps else ()
        outputs = (*kept, *self.pointwise.outputs)
        node = Node("JoinedBlock", self.block.name, (x, *made, *self.maps), outputs, attributes)
        return OperatorGraph(self.inputs, self.pointwise.outputs, (node,), made)


def joins_of(graph: OperatorGraph, channels: Mapping[str, int]) -> Iterator[Join]:
    """Finds them. channels: of the maps, by name."""
    uses = uses_of(graph)
    made_at = {name: at for at, node in enumerate(graph.nodes) for name in node.outputs}
    blocks = {node.outputs[0]: node for node in graph.nodes if node.op == "ResidualBlock"}
    for node in graph.nodes:
        count = node.attributes.get("maps", 0) if node.op == "Pointwise" else 0
        block = blocks.get(node.inputs[count - 1]) if 2 <= count <= MOST_MAPS else None
        if block is None or not _fits(graph, node):
            continue
        others, own = node.inputs[: count - 1], made_at[block.outputs[0]]
        is_before = all(made_at.get(name, -1) < own for name in others)
        if is_before and all(channels.get(name) == CHANNELS for name in others):
            used = {
                name: graph.constants[name]
                for name in (*block.inputs, *node.inputs)
                if name in graph.constants
            }
            keeps = uses[block.outputs[0]] > 1
            outputs = node.attributes["outputs"]
            key = f"block + 1x1 {'+'.join(['64'] * count)} to {outputs}{'' if keeps else ' alone'}"
            dtype = graph.constants[block.inputs[1]].dtype
            yield Join(key, block, node, keeps, used, dtype)


def _fits(graph: OperatorGraph, node: Node) -> bool:
    """Says whether a Pointwise is one that the kernel computes."""
    count, how = node.attributes["maps"], node.attributes
    weight, _, added = node.inputs[count : count + 3]
    is_plain = not added and how["slope"] == 0
    fits = how["outputs"] % 8 == 0 and how["outputs"] <= CHANNELS
    return is_plain and fits and len(graph.constants[weight]) == count * CHANNELS


def with_joins(
    graph: OperatorGraph, channels: Mapping[str, int], pays: Callable[[Join], bool]
) -> OperatorGraph:
    """Puts one kernel in the place of those blocks and joins for which it pays."""
    for join in [*joins_of(graph, channels)]:
        if not pays(join):
            continue
        new = join.together
        swapped = {join.block.outputs[0]: new.nodes, join.pointwise.outputs[0]: ()}
        nodes = [n for node in graph.nodes for n in swapped.get(node.outputs[0], (node,))]
        constants = {**graph.constants, **new.constants}
        graph = replace(graph, constants=constants).with_nodes(nodes)
    return graph
