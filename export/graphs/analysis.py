"""Counts facts of ONNX graphs: multiply-adds as executed, and the memory of their tensors."""

import copy
import math
from collections.abc import Mapping
from contextlib import suppress

import onnx
from onnx import shape_inference

from pcsr.reading.graph import read_graph_shapes

from .layers import attributes

Shapes = Mapping[str, tuple[int, ...]]


def count_macs(model: onnx.ModelProto, **sizes: int) -> int:
    """Counts the multiply-adds of convolutions (of deconvolutions at their input size) and matrix
    products in one run, with the graph's symbolic dimensions set to `sizes`.
    """
    shapes = shapes_at(model, sizes)
    return sum(node_macs(node, shapes) for node in model.graph.node)


def working_bytes(model: onnx.ModelProto, **sizes: int) -> int:
    """Returns the most bytes that float32 tensors of one run take at one time, run node by node,
    with the graph's symbolic dimensions set to `sizes`. Weights are not counted.
    """
    shapes = shapes_at(model, sizes)
    weights = {initializer.name for initializer in model.graph.initializer}
    last_use = {name: i for i, node in enumerate(model.graph.node) for name in node.input}
    last_use |= {output.name: len(model.graph.node) for output in model.graph.output}
    live = {value.name for value in model.graph.input}
    most = 0
    for i, node in enumerate(model.graph.node):
        live |= set(node.output)
        most = max(most, sum(4 * math.prod(shapes.get(name, ())) for name in live - weights))
        live = {name for name in live if last_use.get(name, -1) > i}
    return most


def node_macs(node: onnx.NodeProto, shapes: Shapes) -> int:
    """Counts the multiply-adds of one node."""
    if node.op_type == "Conv":
        return math.prod(shapes[node.input[1]]) * math.prod(shapes[node.output[0]][2:])
    if node.op_type == "ConvTranspose":
        return math.prod(shapes[node.input[1]]) * math.prod(shapes[node.input[0]][2:])
    if node.op_type in ("MatMul", "Gemm"):
        inner = shapes[node.input[0]][0 if attributes(node).get("transA") else -1]
        return inner * math.prod(shapes[node.output[0]])
    return 0


def _initializer_shapes(model: onnx.ModelProto) -> Shapes:
    return {i.name: tuple(i.dims) for i in model.graph.initializer}


def shapes_at(model: onnx.ModelProto, sizes: Mapping[str, int]) -> Shapes:
    """Returns the shapes of all tensors, with the graph's symbolic dimensions set to `sizes`."""
    fixed = copy.deepcopy(model)
    for value in fixed.graph.input:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in sizes:
                dim.dim_value = sizes[dim.dim_param]
    del fixed.graph.value_info[:]
    for value in fixed.graph.output:
        value.type.tensor_type.ClearField("shape")
    graph = shape_inference.infer_shapes(fixed, strict_mode=True, data_prop=True).graph
    known = {
        value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
        for value in (*graph.input, *graph.value_info, *graph.output)
    }
    if any(0 in shape for shape in known.values()):  # padded by the size: onnx does not follow that
        inputs = {value.name: known[value.name] for value in graph.input}
        with suppress(ValueError):  # an operator of no bundle
            known |= read_graph_shapes(model.SerializeToString()).shapes(inputs)
    return {**_initializer_shapes(model), **known}
