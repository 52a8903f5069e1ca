"""Rewrites of a graph that change its speed and not its result."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from .chains import ChainFinder, ConvolutionChain
from .graph import Node, OperatorGraph, uses_of

# Their results are new memory that nothing else looks at.
FRESH = frozenset(
    {"Add", "Add_", "Concat", "Conv", "ConvAddRelu", "ConvEpilogue", "ConvRelu", "ConvTranspose"}
    | {"ConvTransposeEpilogue", "Div", "First", "Gemm", "Grouped", "JoinedBlock", "LeakyRelu"}
    | {"MatMul", "Mul", "Pointwise", "Relu", "ResidualBlock", "Sub"}
)
IN_PLACE = frozenset({"Add", "LeakyRelu", "Relu"})
MOST_CHANNELS, MOST_GROUPS = 32, 8
KEEPS_GROUPS = "keeps_groups"  # an attribute of our own: this convolution stays as it is


def in_place(graph: OperatorGraph) -> OperatorGraph:
    """Makes sums and activations overwrite what no other node and no output needs."""
    uses, fresh, nodes = uses_of(graph), set[str](), []
    for node in graph.nodes:
        if node.op in IN_PLACE:
            spare = [name for name in node.inputs if name in fresh and uses[name] == 1]
            if spare:
                rest = [name for name in node.inputs if name != spare[0]]
                node = replace(node, op=f"{node.op}_", inputs=(spare[0], *rest))
        if node.op.removesuffix("_") in FRESH:
            fresh.update(node.outputs)
        nodes.append(node)
    return replace(graph, nodes=tuple(nodes))


def dense_groups(graph: OperatorGraph) -> OperatorGraph:
    """Gives convolutions of a few narrow groups block-diagonal weights instead.

    Where tensor cores compute, the zeros cost less than kernels for groups do.
    """
    nodes, constants = [], dict(graph.constants)
    for node in graph.nodes:
        groups = node.attributes.get("group", 1)
        is_conv = node.op == "Conv" and not node.attributes.get(KEEPS_GROUPS)
        weight = graph.constants.get(node.inputs[1]) if is_conv else None
        if weight is not None and 1 < groups <= MOST_GROUPS and weight.shape[1] <= MOST_CHANNELS:
            name = f"{node.inputs[1]}/dense"
            constants[name] = dense_weight(weight, groups)
            attributes = {**node.attributes, "group": 1}
            inputs = (node.inputs[0], name, *node.inputs[2:])
            node = replace(node, inputs=inputs, attributes=attributes)
        nodes.append(node)
    return replace(graph, constants=constants).with_nodes(nodes)


def dense_weight(weight: Tensor, groups: int) -> Tensor:
    """Gives a grouped convolution's [O, I / groups, kh, kw] as [O, I, kh, kw], 0 across groups."""
    blocks = weight.reshape(groups, -1, *weight.shape[1:])
    dense = weight.new_zeros(*blocks.shape[:2], groups, *weight.shape[1:])
    diagonal = torch.arange(groups, device=weight.device)
    dense[diagonal, :, diagonal] = blocks
    return dense.flatten(2, 3).flatten(0, 1)


def fuse_convolutions(
    graph: OperatorGraph, may_fuse: Callable[[Node, Tensor, bool], bool]
) -> OperatorGraph:
    """Makes Conv + Relu a ConvRelu, and Conv + Add + Relu a ConvAddRelu (inputs: x, weight, bias,
    what is added), where the results between are used nowhere else.

    may_fuse: is asked with the Conv, its weight, and whether something is added.
    """

    def fused(chain: ConvolutionChain, weight: Tensor) -> Node | None:
        conv, adds = chain.conv, bool(chain.added)
        if conv.op != "Conv" or chain.slope or not may_fuse(conv, weight, adds):
            return None
        op = "ConvAddRelu" if adds else "ConvRelu"
        return replace(conv, op=op, inputs=chain.inputs, outputs=(chain.output,))

    return _fuse(graph, fused)


def fuse_epilogues(graph: OperatorGraph, may_fuse: Callable[[Node, Tensor], bool]) -> OperatorGraph:
    """Makes Conv [+ Add] [+ Relu | LeakyRelu] a ConvEpilogue, and so ConvTranspose without Add
    (inputs: x, weight, bias or "", what is added; slope: an attribute), where the results between
    are used nowhere else and more than a sum or an activation alone follows.

    may_fuse: is asked with the new node and its weight.
    """

    def fused(chain: ConvolutionChain, weight: Tensor) -> Node | None:
        conv = chain.conv
        attributes = {**conv.attributes, "slope": chain.slope}
        new = Node(f"{conv.op}Epilogue", conv.name, chain.inputs, (chain.output,), attributes)
        pays = chain.bias or len(chain.behind) > 1
        return new if pays and may_fuse(new, weight) else None

    return _fuse(graph, fused)


def _fuse(
    graph: OperatorGraph, fused: Callable[[ConvolutionChain, Tensor], Node | None]
) -> OperatorGraph:
    """Replaces chains by one node each; `fused` makes it, or leaves them (None)."""
    finder = ChainFinder(graph)
    swapped: dict[str, Node | None] = {}  # by a node's first output; None: it is gone
    for node in graph.nodes:
        is_conv = node.op in ("Conv", "ConvTranspose")
        weight = graph.constants.get(node.inputs[1]) if is_conv else None
        if weight is None:
            continue
        chain = finder.chain(node, swapped)
        if new := fused(chain, weight):
            swapped |= {gone.outputs[0]: None for gone in chain.nodes}
            swapped[new.outputs[0]] = new
    nodes = (swapped.get(node.outputs[0], node) for node in graph.nodes)
    return replace(graph, nodes=tuple(node for node in nodes if node))


def is_typed(graph: OperatorGraph) -> bool:
    """Says whether the convolutions, or without any the constants, are float16 or bfloat16."""
    weights = {node.inputs[1] for node in graph.nodes if node.op == "Conv"}
    chosen = [v for name, v in graph.constants.items() if name in weights or not weights]
    return any(value.dtype in (torch.float16, torch.bfloat16) for value in chosen)
