"""Rewrites a float32 graph in half precision.

What goes in and what comes out as an image, logits or a residual stays float32, and so do the
normalisation, positions and the sums that make the result.
"""

import copy
from collections.abc import Iterable, MutableSequence, Sequence

import ml_dtypes
import numpy as np
import onnx
from numpy.typing import DTypeLike
from onnx import TensorProto, helper

from pcsr.errors import VerificationError

from .layers import Arrays, Layers, rewritten

FLOAT = TensorProto.FLOAT
TYPES = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
DTYPES: dict[str, DTypeLike] = {"fp16": np.float16, "bf16": ml_dtypes.bfloat16}
LEAST_OPSET = {"fp16": 18, "bf16": 22}  # the first whose convolutions take the type
SUMS = frozenset({"Add", "Sub", "Mul", "Div"})
RESULTS = ("upscaled", "residual")
STAYS = {"bf16": {"ConvTranspose"}}  # TensorRT-RTX 1.7 does not build it in bf16
FLOAT_ONLY = {"Resize": (1, 2)}  # operators' inputs that have one type in every graph


def to_half_precision(model: onnx.ModelProto, role: str, precision: str) -> onnx.ModelProto:
    """Returns a copy of a float32 graph whose inner tensors, `features` and row maps are `fp16` or
    `bf16`.

    Raises:
        VerificationError: a weight is too large for the type, or ONNX cannot tell its types.
    """
    try:
        return _HalfPrecisionGraph(model, role, precision).model()
    except (onnx.shape_inference.InferenceError, onnx.version_converter.ConvertError) as error:
        reason = str(error).splitlines()[0]
        raise VerificationError(
            f"the {role} graph cannot be written in {precision} ({reason}); nothing was written"
        ) from error


def overflow(role: str, what: str, precision: str) -> VerificationError:
    """Makes the error for a number that a type does not hold."""
    other = "; export bf16 instead" if precision == "fp16" else ""
    return VerificationError(
        f"the {role} graph overflows in {precision} ({what}){other}; nothing was written"
    )


class _HalfPrecisionGraph:
    """Writes the nodes of one graph in its new type."""

    def __init__(self, model: onnx.ModelProto, role: str, precision: str) -> None:
        self._role, self._precision, self._type = role, precision, TYPES[precision]
        self._old = _at_least(model, LEAST_OPSET[precision])
        graph = onnx.shape_inference.infer_shapes(self._old, strict_mode=True).graph
        self._weights = Layers(self._old).weights
        self._floats = {n for n, array in self._weights.items() if array.dtype == np.float32}
        self._floats |= {
            value.name
            for value in (*graph.input, *graph.value_info, *graph.output)
            if value.type.tensor_type.elem_type == FLOAT
        }
        self._types: dict[str, int] = {value.name: FLOAT for value in graph.input}
        self._nodes: list[onnx.NodeProto] = []
        self._used: Arrays = {}

    def model(self) -> onnx.ModelProto:
        old = copy.deepcopy(self._old)
        self._retype([value for value in old.graph.input if value.name == "features"])
        is_kept = _kept(old.graph, self._weights)
        for node, stays in zip(old.graph.node, is_kept, strict=True):
            self._add(node, stays)
        outputs = old.graph.output
        typed_outputs = [value for value in outputs if value.name.endswith("features")]
        for value in outputs:
            self._settle(value.name, self._type if value in typed_outputs else FLOAT)
        self._retype(typed_outputs)
        return rewritten(old, self._nodes, self._used)

    def _retype(self, values: Sequence[onnx.ValueInfoProto]) -> None:
        for value in values:
            value.type.tensor_type.elem_type = self._type
            self._types[value.name] = self._type

    def _add(self, node: onnx.NodeProto, stays: bool) -> None:
        has_floats = any(name in self._floats for name in node.input)
        stays = stays or node.op_type in STAYS.get(self._precision, ())
        kind = self._type if has_floats and not stays else FLOAT
        only = FLOAT_ONLY.get(node.op_type, ())
        new = copy.deepcopy(node)
        for i, name in enumerate(node.input):
            if name in self._floats:
                new.input[i] = self._as(name, FLOAT if i in only else kind)
            elif name in self._weights:
                self._used[name] = self._weights[name]
        self._nodes.append(new)
        self._types |= {name: kind for name in node.output if name in self._floats}

    def _as(self, name: str, kind: int) -> str:
        """Returns the name under which a tensor or weight is there in a type."""
        if name in self._weights:
            return self._weight(name, kind)
        if self._types[name] == kind:
            return name
        other = f"{name}_{self._precision if kind == self._type else 'fp32'}"
        if other not in self._types:
            self._nodes.append(helper.make_node("Cast", [name], [other], to=kind))
            self._types[other] = kind
        return other

    def _weight(self, name: str, kind: int) -> str:
        if kind == FLOAT:
            self._used[name] = self._weights[name]
            return name
        other = f"{name}_{self._precision}"
        if other not in self._used:
            with np.errstate(over="ignore"):
                array = self._weights[name].astype(DTYPES[self._precision])
            if not np.isfinite(array.astype(np.float32)).all():
                raise overflow(self._role, f"weight {name}", self._precision)
            self._used[other] = array
        return other

    def _settle(self, output: str, kind: int) -> None:
        """Makes an output of the graph have its type; who made it writes under another name."""
        if self._types[output] == kind:
            return
        made = f"{output}_before"
        for node in self._nodes:
            rename(node.input, output, made)
            rename(node.output, output, made)
        self._nodes.append(helper.make_node("Cast", [made], [output], to=kind))
        self._types |= {made: self._types[output], output: kind}


def _kept(graph: onnx.GraphProto, weights: Iterable[str]) -> list[bool]:
    """Tells which nodes stay float32: all in front of the first layer that is not a sum, and the
    sums that an image, a position or the result goes through.
    """
    constants = set(weights)
    is_row_graph = any(value.name == "features" for value in graph.input)
    exact = {value.name for value in graph.input} - {"features", "index"}
    kept = []
    for node in graph.node:
        dynamic = [name for name in node.input if name and name not in constants]
        if is_row_graph and dynamic and all(name in exact for name in dynamic):
            exact |= set(node.output)
        stays = any(name in exact for name in dynamic)
        if not is_row_graph:
            stays = stays and node.op_type in SUMS | {"Resize"}
            exact |= set(node.output if stays else [])
        kept.append(stays)
    _keep_last_sums(graph, kept)
    return kept


def _keep_last_sums(graph: onnx.GraphProto, kept: list[bool]) -> None:
    """Marks the sums that only an `upscaled` image, a residual, or another such sum reads."""
    last = {value.name for value in graph.output if value.name in RESULTS}
    for i in reversed(range(len(graph.node))):
        node = graph.node[i]
        if node.op_type not in SUMS or node.output[0] not in last:
            continue
        kept[i] = True
        for name in node.input:
            readers = [n for n in graph.node if name in n.input]
            if readers == [node]:
                last.add(name)


def _at_least(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    if next(o.version for o in model.opset_import if not o.domain) >= opset:
        return model
    return onnx.version_converter.convert_version(model, opset)


def rename(names: MutableSequence[str], old: str, new: str) -> None:
    """Replaces a name in the inputs or outputs of a node."""
    names[:] = [new if name == old else name for name in names]
