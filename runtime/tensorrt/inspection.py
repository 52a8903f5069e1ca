"""What an engine computes in, layer by layer, held against what its graph asks for.

A graph's types say what an engine has to compute in; TensorRT's inspector tells what it does. Both
forms of its JSON are read: that of TensorRT 10, where a tensor has a `Format/Datatype` ("Half", or
a sentence such as "Row major linear FP16 format"), and that of 11, where the type stands alone.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx
from onnx import TensorProto

from pcsr.errors import EngineError

from .library import Library
from .profiles import ShapeProfile, input_limits

PRODUCTS = frozenset({"Conv", "ConvTranspose", "MatMul", "Gemm"})
GRAPH_TYPES = {
    TensorProto.FLOAT: "fp32",
    TensorProto.FLOAT16: "fp16",
    TensorProto.BFLOAT16: "bf16",
    TensorProto.INT8: "int8",
    TensorProto.FLOAT8E4M3FN: "fp8",
}
# The first that is found holds: bfloat16 and float8 are floats too.
INSPECTED_TYPES = {
    "bf16": r"bf16|bfloat16",
    "fp8": r"fp8|float8",
    "fp16": r"fp16|half|float16",
    "int8": r"int8",
    "fp32": r"fp32|float",
}
UNKNOWN = "unknown"
SHOWN = 3


@dataclass(frozen=True)
class LayerPrecision:
    """Tells what one layer of an engine computes in, which holds products of its graph."""

    name: str
    expected: frozenset[str]
    """The precisions that the graph asks for; a fused layer may hold several products."""
    found: frozenset[str]
    """Those of its tensors and weights; none where the inspector does not tell."""
    at_border: bool
    """Whether it reads or writes a tensor of the caller, whose type it may change itself."""

    @property
    def differs(self) -> bool:
        """Tells whether none of its tensors has the precision that was asked for."""
        return bool(self.found) and self.found.isdisjoint(self.expected)


def requested_precisions(data: bytes) -> dict[str, str]:
    """Gives the precision of each convolution and product of an ONNX graph, by the node's name:
    that of its input, or that behind the input's DequantizeLinear.
    """
    model = onnx.shape_inference.infer_shapes(onnx.load_from_string(data))
    graph = model.graph
    values = (*graph.input, *graph.value_info, *graph.output)
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    types |= {weight.name: weight.data_type for weight in graph.initializer}
    quantised = {n.output[0]: n.input[0] for n in graph.node if n.op_type == "DequantizeLinear"}
    found = {}
    for node in graph.node:
        source = quantised.get(node.input[0], node.input[0]) if node.input else ""
        if node.op_type in PRODUCTS and types.get(source) in GRAPH_TYPES:
            found[node.name] = GRAPH_TYPES[types[source]]
    return found


def read_layers(text: str, requested: Mapping[str, str]) -> list[LayerPrecision]:
    """Reads the inspector's JSON of an engine: the layers that hold products of its graph.

    Raises:
        EngineError: it is not in the inspector's form, or names none of the products.
    """
    try:
        information = json.loads(text)
        layers = information["Layers"]
        callers = _callers_tensors(information)
        found = [
            one
            for described in layers
            if isinstance(described, dict) and (one := _layer(described, requested, callers))
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EngineError(
            f"TensorRT's inspector gives no JSON of layers that is known ({error!r})"
        ) from error
    if requested and not found:
        raise EngineError(
            f"TensorRT's inspector names none of the graph's {len(requested)} products"
        )
    return found


def count_precisions(layers: Sequence[LayerPrecision]) -> dict[str, int]:
    """Counts the layers by the precision that they compute in: the one that was asked for where
    they have it, else the widest.
    """
    widest = ("fp32", "bf16", "fp16", "fp8", "int8")

    def precision(one: LayerPrecision) -> str:
        for found in (one.found & one.expected, one.found):
            if found:
                return next(name for name in widest if name in found)
        return UNKNOWN

    return dict(Counter(map(precision, layers)))


def refuse_other_precision(role: str, layers: Sequence[LayerPrecision]) -> None:
    """Raises EngineError where an engine computes in another precision than its graph asks for. A
    layer at the border may change types itself; it is blamed only where no layer is as asked for.
    """
    wrong = [one for one in layers if one.differs]
    known = [one for one in layers if one.found]
    inner = [one for one in wrong if not one.at_border]
    if not wrong or (not inner and len(wrong) < len(known)):
        return
    named = inner or wrong
    asked = "/".join(sorted(set().union(*(one.expected for one in named))))
    found = "/".join(sorted(set().union(*(one.found for one in named))))
    names = ", ".join(one.name for one in named[:SHOWN])
    more = f" and {len(named) - SHOWN} more" if len(named) > SHOWN else ""
    raise EngineError(
        f"the {role} engine computes in {found} where its graph asks for {asked}: {len(named)} of "
        f"{len(layers)} layers ({names}{more}); it is not kept; try another version of TensorRT"
    )


def inspect_engine(library: Library, engine: Any, profile: ShapeProfile) -> str:  # noqa: ANN401
    """Gives the inspector's JSON of a loaded engine at its usual shapes: where these are open,
    TensorRT tells no types.

    Raises:
        EngineError: TensorRT gives none.
    """
    trt = library.trt
    context = engine.create_execution_context(
        trt.ExecutionContextAllocationStrategy.USER_MANAGED  # nothing is run
    )
    if context is None:
        raise library.error("cannot make a context to inspect an engine")
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        shape = tuple(engine.get_tensor_shape(name))
        if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT and -1 in shape:
            context.set_input_shape(name, input_limits(name, shape, profile)[1])
    inspector = engine.create_engine_inspector()
    inspector.execution_context = context
    text = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
    if not text:
        raise library.error("cannot inspect an engine")
    return str(text)


def _layer(
    described: Mapping[str, Any], requested: Mapping[str, str], callers: set[str]
) -> LayerPrecision | None:
    """Reads one layer; None for one that holds no product of the graph."""
    expected = frozenset(requested[name] for name in _nodes(described, requested))
    if not expected:
        return None
    tensors = [*described.get("Inputs", ()), *described.get("Outputs", ())]
    texts = [*map(_type_text, tensors), str((described.get("Weights") or {}).get("Type", ""))]
    found = frozenset(name for text in texts if (name := _precision(text)))
    border = any(tensor.get("Name") in callers for tensor in tensors)
    return LayerPrecision(str(described.get("Name", "?")), expected, found, border)


def _nodes(described: Mapping[str, Any], requested: Mapping[str, str]) -> Iterator[str]:
    """Yields the products that a layer was made from: by its metadata, else by its name, which
    joins those of fused nodes.
    """
    named = re.findall(r"\[ONNX Layer: ([^\]]*)\]", str(described.get("Metadata", "")))
    for name in named or re.split(r"\s*\+\s*", str(described.get("Name", ""))):
        if name in requested:
            yield name


def _type_text(tensor: Mapping[str, Any]) -> str:
    return next((str(v) for k, v in tensor.items() if k.lower().endswith("datatype")), "")


def _precision(text: str) -> str | None:
    text = text.lower()
    return next((name for name, what in INSPECTED_TYPES.items() if re.search(what, text)), None)


def _callers_tensors(information: Mapping[str, Any]) -> set[str]:
    tensors = information.get("I/O Tensors", information.get("Bindings", ()))
    return {tensor["Name"] if isinstance(tensor, dict) else tensor for tensor in tensors}
