"""Rewrites of a graph that change its speed and not its result: in place, dense, fused."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from .graph import Graph, Node
from .operators import convolution_options

# Their results are new memory that nothing else looks at.
FRESH = frozenset(
    {"Add", "Add_", "Concat", "Conv", "ConvAddRelu", "ConvEpilogue", "ConvRelu", "ConvTranspose"}
    | {"ConvTransposeEpilogue", "Div", "Gemm", "Grouped", "LeakyRelu", "MatMul", "Mul"}
    | {"Pointwise", "Relu", "Sub"}
)
IN_PLACE = frozenset({"Add", "LeakyRelu", "Relu"})
MOST_CHANNELS, MOST_GROUPS = 32, 8
KEEPS_GROUPS = "keeps_groups"  # an attribute of our own: this convolution stays as it is
Chain = tuple[Node, ...]


def in_place(graph: Graph) -> Graph:
    """Sums and activations overwrite what no other node and no output needs."""
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


def dense_groups(graph: Graph) -> Graph:
    """Convolutions of a few narrow groups with block-diagonal weights instead.

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
    used = {name for node in nodes for name in node.inputs} | set(graph.outputs)
    constants = {name: value for name, value in constants.items() if name in used}
    return replace(graph, nodes=tuple(nodes), constants=constants)


def dense_weight(weight: Tensor, groups: int) -> Tensor:
    """[O, I / groups, kh, kw] of a grouped convolution as [O, I, kh, kw], zero across groups."""
    outputs, inputs = weight.shape[0] // groups, weight.shape[1]
    dense = weight.new_zeros(outputs * groups, inputs * groups, *weight.shape[2:])
    for group in range(groups):
        rows = slice(group * outputs, (group + 1) * outputs)
        dense[rows, group * inputs : (group + 1) * inputs] = weight[rows]
    return dense


def fuse_convolutions(graph: Graph, may_fuse: Callable[[Node, Tensor, bool], bool]) -> Graph:
    """Conv + Relu becomes ConvRelu, Conv + Add + Relu ConvAddRelu (inputs: x, weight, bias, what
    was added), where the results between are used nowhere else.

    may_fuse: asked with the Conv, its weight, and whether something is added.
    """

    def fused(conv: Node, weight: Tensor, chain: Chain) -> Node | None:
        is_relu = conv.op == "Conv" and chain and chain[-1].op == "Relu"
        if not is_relu or not may_fuse(conv, weight, len(chain) > 1):
            return None
        op = "ConvAddRelu" if len(chain) > 1 else "ConvRelu"
        return replace(conv, op=op, inputs=_inputs(conv, chain), outputs=chain[-1].outputs)

    return _fuse(graph, fused)


def fuse_epilogues(graph: Graph, may_fuse: Callable[[Node, Tensor], bool]) -> Graph:
    """Conv [+ Add] [+ Relu | LeakyRelu] becomes ConvEpilogue, and so ConvTranspose without Add
    (inputs: x, weight, bias or "", what was added; slope: an attribute), where the results between
    are used nowhere else and more than a sum or an activation alone follows.

    may_fuse: asked with the new node and its weight.
    """

    def fused(conv: Node, weight: Tensor, chain: Chain) -> Node | None:
        last, inputs = (conv, *chain)[-1], _inputs(conv, chain)
        attributes = {**conv.attributes, "slope": _slope(last)}
        new = Node(f"{conv.op}Epilogue", conv.name, inputs, last.outputs, attributes)
        pays = inputs[2] or len(chain) > 1
        return new if pays and may_fuse(new, weight) else None

    return _fuse(graph, fused)


def _fuse(graph: Graph, fused: Callable[[Node, Tensor, Chain], Node | None]) -> Graph:
    """fused: makes one node of a convolution and what follows it, or leaves them (None)."""
    uses = uses_of(graph)
    next_of = {name: node for node in graph.nodes for name in node.inputs if uses[name] == 1}
    swapped: dict[str, Node | None] = {}  # by a node's first output; None: it is gone
    for node in graph.nodes:
        is_conv = node.op in ("Conv", "ConvTranspose")
        weight = graph.constants.get(node.inputs[1]) if is_conv else None
        if weight is None:
            continue
        chain = _chain(graph, node, next_of)
        chain = () if any(link.outputs[0] in swapped for link in chain) else chain
        if new := fused(node, weight, chain):
            swapped |= {gone.outputs[0]: None for gone in (node, *chain)}
            swapped[new.outputs[0]] = new
    nodes = (swapped.get(node.outputs[0], node) for node in graph.nodes)
    return replace(graph, nodes=tuple(node for node in nodes if node))


def _chain(graph: Graph, conv: Node, next_of: dict[str, Node]) -> Chain:
    """(Add), (Relu or LeakyRelu), both or neither: what follows a convolution and nothing else. A
    sum counts where both sides can be of one shape.
    """
    chain, following = [], next_of.get(conv.outputs[0])
    if following and following.op == "Add":
        may_broadcast = conv.op != "Conv" or graph.constants.keys() & {*following.inputs}
        if may_broadcast or not keeps_size(conv, graph.constants[conv.inputs[1]]):
            return ()
        chain, following = [following], next_of.get(following.outputs[0])
    if following and following.op in ("Relu", "LeakyRelu"):
        chain.append(following)
    return tuple(chain)


def _inputs(conv: Node, chain: Chain) -> tuple[str, ...]:
    """x, weight, bias or "", and what is added."""
    bias = conv.inputs[2] if len(conv.inputs) > 2 else ""
    added = [n for add in chain if add.op == "Add" for n in add.inputs if n != conv.outputs[0]]
    return (*conv.inputs[:2], bias, *added)


def _slope(last: Node) -> float:
    """Below zero, of what ends a chain."""
    slopes = {"Relu": 0.0, "LeakyRelu": last.attributes.get("alpha", 0.01)}
    return float(slopes.get(last.op, 1.0))


def keeps_size(conv: Node, weight: Tensor) -> bool:
    """Whether the result of a convolution is as high and wide as its input."""
    stride, dilation, pads = convolution_options(conv)
    needed = tuple(d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True))
    total = (pads[0] + pads[2], pads[1] + pads[3])
    return max(stride) == 1 and total == needed and pads[:2] == pads[2:]


def uses_of(graph: Graph) -> Counter[str]:
    """How many nodes and outputs need each value."""
    counts = Counter(name for node in graph.nodes for name in node.inputs)
    counts.update(graph.outputs)
    return counts


def is_typed(graph: Graph) -> bool:
    """Whether its convolutions, or without any its constants, are float16 or bfloat16."""
    weights = {node.inputs[1] for node in graph.nodes if node.op == "Conv"}
    chosen = [v for name, v in graph.constants.items() if name in weights or not weights]
    return any(value.dtype in (torch.float16, torch.bfloat16) for value in chosen)
