"""Rewrites of a graph that change its speed and not its result: in place, dense, fused."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from .onnx_graph import Graph, Node
from .operators import convolution_options

# Their results are new memory that nothing else looks at.
FRESH = frozenset(
    {"Add", "Add_", "Concat", "Conv", "ConvAddRelu", "ConvRelu", "ConvTranspose", "Div", "Gemm"}
    | {"LeakyRelu", "MatMul", "Mul", "Relu", "Sub"}
)
IN_PLACE = frozenset({"Add", "LeakyRelu", "Relu"})
MOST_CHANNELS, MOST_GROUPS = 32, 8


def in_place(graph: Graph) -> Graph:
    """Sums and activations overwrite what no other node and no output needs."""
    uses, fresh, nodes = _uses(graph), set[str](), []
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
        weight = graph.constants.get(node.inputs[1]) if node.op == "Conv" else None
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
    uses = _uses(graph)
    next_of = {name: node for node in graph.nodes for name in node.inputs if uses[name] == 1}
    swapped: dict[str, Node | None] = {}  # by a node's first output; None: it is gone
    for node in graph.nodes:
        weight = graph.constants.get(node.inputs[1]) if node.op == "Conv" else None
        chain = _chain(graph, node, next_of) if weight is not None else None
        if weight is None or chain is None or chain[-1].outputs[0] in swapped:
            continue
        added = [name for add in chain[:-1] for name in add.inputs if name != node.outputs[0]]
        if may_fuse(node, weight, bool(added)):
            swapped |= {gone.outputs[0]: None for gone in (node, *chain)}
            bias = node.inputs[2] if len(node.inputs) > 2 else ""
            swapped[chain[-1].outputs[0]] = replace(
                node,
                op="ConvAddRelu" if added else "ConvRelu",
                inputs=(*node.inputs[:2], bias, *added),
                outputs=chain[-1].outputs,
            )
    nodes = (swapped.get(node.outputs[0], node) for node in graph.nodes)
    return replace(graph, nodes=tuple(node for node in nodes if node))


def _chain(graph: Graph, conv: Node, next_of: dict[str, Node]) -> tuple[Node, ...] | None:
    """(Relu) or (Add, Relu) behind a convolution."""
    first = next_of.get(conv.outputs[0])
    if first is None:
        return None
    if first.op == "Relu":
        return (first,)
    second = next_of.get(first.outputs[0])
    if first.op != "Add" or second is None or second.op != "Relu":
        return None
    if not keeps_size(conv, graph.constants[conv.inputs[1]]):
        return None
    return None if graph.constants.keys() & {*first.inputs} else (first, second)


def keeps_size(conv: Node, weight: Tensor) -> bool:
    """Whether the result of a convolution is as high and wide as its input."""
    stride, dilation, pads = convolution_options(conv)
    needed = tuple(d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True))
    total = (pads[0] + pads[2], pads[1] + pads[3])
    return max(stride) == 1 and total == needed and pads[:2] == pads[2:]


def _uses(graph: Graph) -> Counter[str]:
    counts = Counter(name for node in graph.nodes for name in node.inputs)
    counts.update(graph.outputs)
    return counts


def is_typed(graph: Graph) -> bool:
    """Whether its convolutions, or without any its constants, are float16 or bfloat16."""
    weights = {node.inputs[1] for node in graph.nodes if node.op == "Conv"}
    chosen = [v for name, v in graph.constants.items() if name in weights or not weights]
    return any(value.dtype in (torch.float16, torch.bfloat16) for value in chosen)
