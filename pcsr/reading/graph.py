"""ONNX graphs, in as much of ONNX as those of a bundle need: known operators and their weights,
without control flow, functions, or data in other files.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pcsr.errors import BackendError

from .graph_shapes import GraphShapes
from .shape_rules import RULES
from .shapes import Computation, Value
from .wire import count_fields

MOST_NODES = 2_500
MOST_WEIGHTS = 10_000
MOST_DIMENSIONS = 8
OPSETS = {"": range(18, 27), "com.microsoft": range(1, 2)}
DOMAINS = {"ai.onnx": ""}  # two names of one
WIDTHS = {"FLOAT": 4, "DOUBLE": 8, "FLOAT16": 2, "BFLOAT16": 2, "FLOAT8E4M3FN": 1, "BOOL": 1}
WIDTHS |= {"INT8": 1, "UINT8": 1, "UINT16": 2, "INT32": 4, "INT64": 8}  # bytes of a weight's value
KNOWN_VALUES = 64  # of integers that may stand for a shape
DEFAULT_PLACE = ("data_location", 0)
WORDS = {"doc_string", "metadata_props"}
FIELDS = {
    "ModelProto": WORDS
    | {"ir_version", "opset_import", "producer_name", "producer_version", "domain"}
    | {"model_version", "graph"},
    "GraphProto": WORDS | {"name", "node", "initializer", "input", "output", "value_info"},
    "NodeProto": WORDS | {"input", "output", "name", "op_type", "domain", "attribute"},
    "AttributeProto": WORDS | {"name", "type", "f", "i", "s", "t", "floats", "ints"},
    "TensorProto": WORDS
    | {"dims", "data_type", "name", "raw_data", "float_data", "int32_data", "int64_data"}
    | {"double_data", "uint64_data"},
}


MOST_SINGLE_NODES = 50_000
ROUTING = {
    *("And", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Not", "Or", "Xor"),
    *("ArgMax", "Floor", "MaxPool", "Min", "ReduceMax", "ReduceMin", "ReduceSum", "Round"),
    *("Expand", "Log", "NonZero", "Range", "ScatterElements", "ScatterND", "Where"),
}
"""The operators that a graph of one file has beside those of a bundle's graphs."""


@dataclass(frozen=True)
class SingleGraph:
    """What is known of a graph of one file, which was checked."""

    metadata: Mapping[str, str]
    opset: int
    weights: Mapping[str, Value]
    """By name; of small ones the values, too."""


def read_graph_shapes(data: bytes) -> GraphShapes:
    """Parses an ONNX file, checks it, and gives what its values take for inputs of any size.

    Raises:
        ValueError: it is damaged, or holds what a graph of a bundle does not.
        BackendError: the onnx package is missing.
    """
    return _read(data, RULES.keys(), MOST_NODES)[1]


def read_single_graph(data: bytes) -> SingleGraph:
    """Parses and checks a file that holds a whole bundle: image in, upscaled image out. How much
    its values take is not foreseen: that depends on the image.

    Raises:
        ValueError: it is damaged, or holds what no such graph does.
        BackendError: the onnx package is missing.
    """
    model, graph = _read(data, RULES.keys() | ROUTING, MOST_SINGLE_NODES)
    if graph.inputs != ("image",) or graph.outputs != ("upscaled",):
        raise ValueError("it does not make `upscaled` of `image`, and these alone")
    opset = next((one.version for one in model.opset_import if not one.domain), 0)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    return SingleGraph(metadata, opset, graph.constants)


def _read(data: bytes, operators: Collection[str], most_nodes: int) -> tuple[Any, GraphShapes]:
    onnx = _onnx()
    if not data:
        raise ValueError("it is empty")
    count_fields(data, onnx.ModelProto.DESCRIPTOR)
    try:
        model = onnx.ModelProto.FromString(data)
    except Exception as error:  # of google.protobuf, which need not be importable by this name
        raise ValueError(f"it is not an ONNX model: {error}") from error
    _allow(model)
    _check_opsets(model)
    graph = model.graph
    _allow(graph)
    if len(graph.node) > most_nodes:
        raise ValueError(f"it has {len(graph.node)} nodes, more than {most_nodes}")
    if len(graph.initializer) > MOST_WEIGHTS:
        raise ValueError(f"it has {len(graph.initializer)} weights, more than {MOST_WEIGHTS}")
    constants = {proto.name: _value(onnx, proto) for proto in graph.initializer}
    inputs = tuple(value.name for value in graph.input)
    outputs = tuple(value.name for value in graph.output)
    nodes = [_computation(onnx, node, operators) for node in graph.node]
    _check_names(graph, inputs, outputs, nodes)
    return model, GraphShapes(inputs, outputs, constants, tuple(nodes))


def _onnx() -> Any:  # noqa: ANN401
    try:
        import onnx
    except ImportError as error:
        raise BackendError(
            f"graphs are checked with the onnx package, which does not load ({error}); "
            "run pip install onnx"
        ) from error
    return onnx


def _allow(message: Any) -> None:  # noqa: ANN401
    kind = message.DESCRIPTOR.name
    for field, value in message.ListFields():
        if field.name not in FIELDS[kind] and (field.name, value) != DEFAULT_PLACE:
            raise ValueError(f"it has {field.name} in a {kind}, which no graph of a bundle has")


def _check_opsets(model: Any) -> None:  # noqa: ANN401
    found = [
        (DOMAINS.get(opset.domain, opset.domain), opset.version) for opset in model.opset_import
    ]
    if len({domain for domain, _ in found}) < len(found):
        raise ValueError("it names an opset twice")
    for domain, version in found:
        if version not in OPSETS.get(domain, ()):
            raise ValueError(f"it needs opset {version} of {domain or 'ai.onnx'!r:.40}")


def _check_names(
    graph: Any,  # noqa: ANN401
    inputs: Sequence[str],
    outputs: Sequence[str],
    nodes: Sequence[Computation],
) -> None:
    """Checks that every value has one origin, before it is used."""
    known: set[str] = set()
    weights = [proto.name for proto in graph.initializer]
    for name in (*inputs, *weights, *(name for node in nodes for name in node.outputs if name)):
        if name in known or not name:
            raise ValueError(f"it computes {name!a:.80} twice")
        known.add(name)
    ready = {*inputs, *weights}
    for node in nodes:
        for name in node.inputs:
            if name and name not in ready:
                raise ValueError(f"it uses {name!a:.80} before it is computed")
        ready.update(node.outputs)
    if missing := [name for name in outputs if name not in ready]:
        raise ValueError(f"it does not compute its output {missing[0]!a:.80}")
    if len({*outputs}) < len(outputs) or {*outputs} & {*inputs, *weights}:
        raise ValueError("an output is there twice, or is no result")


def _computation(onnx: Any, node: Any, operators: Collection[str]) -> Computation:  # noqa: ANN401
    _allow(node)
    domain = DOMAINS.get(node.domain, node.domain)
    operator = f"{domain}::{node.op_type}" if domain else node.op_type
    if operator not in operators:
        raise ValueError(f"it has the operator {operator!a:.80}, which is not known here")
    attributes: dict[str, Any] = {}
    for attribute in node.attribute:
        _allow(attribute)
        is_constant = operator == "Constant" and attribute.type == attribute.TENSOR
        if attribute.HasField("t") and not is_constant:
            raise ValueError(f"{operator} has a tensor as attribute")
        value = onnx.helper.get_attribute_value(attribute)
        if attribute.HasField("t"):
            value = _value(onnx, value)
        attributes[attribute.name] = value
    if len(attributes) < len(node.attribute):
        raise ValueError(f"{operator} has an attribute twice")
    return Computation(operator, tuple(node.input), tuple(node.output), attributes)


def _value(onnx: Any, tensor: Any) -> Value:  # noqa: ANN401
    """Gives the shape of a weight, and its values where they may stand for a shape."""
    _allow(tensor)
    shape, name = tuple(tensor.dims), f"{tensor.name!a:.80}"
    if len(shape) > MOST_DIMENSIONS or min(shape, default=0) < 0:
        raise ValueError(f"the weight {name} has the shape {shape!s:.80}")
    try:
        value = Value(shape)
        kind = onnx.TensorProto.DataType.Name(tensor.data_type)
        if kind not in WIDTHS:
            raise ValueError(f"values of type {kind}")
        size_bytes = len(tensor.raw_data)
        if value.count * WIDTHS[kind] != size_bytes and (
            size_bytes or value.count != _typed(tensor)
        ):
            raise ValueError("it has another size than its shape")
        if value.count <= KNOWN_VALUES and tensor.data_type in _known_types(onnx):
            return Value(shape, np.array(onnx.numpy_helper.to_array(tensor)))
    except Exception as error:  # of protobuf and NumPy
        raise ValueError(f"the weight {name} is damaged ({error})") from error
    return value


def _typed(tensor: Any) -> int:  # noqa: ANN401
    typed = (tensor.float_data, tensor.int32_data, tensor.int64_data, tensor.double_data)
    return sum(map(len, typed)) + len(tensor.uint64_data)


def _known_types(onnx: Any) -> tuple[int, ...]:  # noqa: ANN401
    kinds = onnx.TensorProto
    return kinds.INT64, kinds.FLOAT
