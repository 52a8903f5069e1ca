"""A float32 graph in half precision.

What goes in and what comes out as an image, logits or a residual stays float32, and so do the
normalisation, positions and the sums that make the result.
"""

from collections.abc import Iterable, MutableSequence, Sequence

import ml_dtypes
import numpy as np
import onnx
from numpy.typing import DTypeLike
from onnx import TensorProto, helper, numpy_helper

from pcsr.errors import VerificationError

FLOAT = TensorProto.FLOAT
TYPES = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
DTYPES: dict[str, DTypeLike] = {"fp16": np.float16, "bf16": ml_dtypes.bfloat16}
LEAST_OPSET = {"fp16": 18, "bf16": 22}  # the first whose convolutions take the type
SUMS = frozenset({"Add", "Sub", "Mul", "Div"})
STAYS = {"bf16": {"ConvTranspose"}}  # TensorRT-RTX 1.7 does not build it in bf16
FLOAT_ONLY = {"Resize": (1, 2)}  # operators' inputs that have one type in every graph


def typed(model: onnx.ModelProto, role: str, precision: str) -> onnx.ModelProto:
    """A copy of a graph of float32 whose inner tensors, `features` and row maps are `fp16` or
    `bf16`.

    Raises:
        VerificationError: a weight is too large for the type, or ONNX cannot tell its types.
    """
    try:
        return _Typed(model, role, precision).model()
    except (onnx.shape_inference.InferenceError, onnx.version_converter.ConvertError) as error:
        reason = str(error).splitlines()[0]
        raise VerificationError(
            f"the {role} graph cannot be written in {precision} ({reason}); nothing was written"
        ) from error


def overflow(role: str, what: str, precision: str) -> VerificationError:
    """The error for a number that a type does not hold."""
    other = "; export bf16 instead" if precision == "fp16" else ""
    return VerificationError(
        f"the {role} graph overflows in {precision} ({what}){other}; nothing was written"
    )


class _Typed:
    """One graph on its way to another type."""

    def __init__(self, model: onnx.ModelProto, role: str, precision: str) -> None:
        self._role, self._precision, self._type = role, precision, TYPES[precision]
        self._old = _at_least(model, LEAST_OPSET[precision])
        graph = onnx.shape_inference.infer_shapes(self._old, strict_mode=True).graph
        self._weights = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
        self._floats = {n for n, array in self._weights.items() if array.dtype == np.float32}
        self._floats |= {
            value.name
            for value in (*graph.input, *graph.value_info, *graph.output)
            if value.type.tensor_type.elem_type == FLOAT
        }
        self._types: dict[str, int] = {value.name: FLOAT for value in graph.input}
        self._nodes: list[onnx.NodeProto] = []
        self._used: dict[str, onnx.TensorProto] = {}

    def model(self) -> onnx.ModelProto:
        new = onnx.ModelProto()
        new.CopyFrom(self._old)
        graph = new.graph
        del graph.node[:], graph.initializer[:], graph.value_info[:]
        self._retype([value for value in graph.input if value.name == "features"])
        is_kept = _kept(self._old.graph, self._weights)
        for node, stays in zip(self._old.graph.node, is_kept, strict=True):
            self._add(node, stays)
        typed_outputs = [value for value in graph.output if value.name.endswith("features")]
        for value in graph.output:
            self._settle(value.name, self._type if value in typed_outputs else FLOAT)
        self._retype(typed_outputs)
        graph.node.extend(self._nodes)
        graph.initializer.extend(self._used.values())
        return new

    def _retype(self, values: Sequence[onnx.ValueInfoProto]) -> None:
        for value in values:
            value.type.tensor_type.elem_type = self._type
            self._types[value.name] = self._type

    def _add(self, node: onnx.NodeProto, stays: bool) -> None:
        has_floats = any(name in self._floats for name in node.input)
        stays = stays or node.op_type in STAYS.get(self._precision, ())
        kind = self._type if has_floats and not stays else FLOAT
        only = FLOAT_ONLY.get(node.op_type, ())
        new = onnx.NodeProto()
        new.CopyFrom(node)
        for i, name in enumerate(node.input):
            if name in self._floats:
                new.input[i] = self._as(name, FLOAT if i in only else kind)
            elif name in self._weights:
                self._used[name] = numpy_helper.from_array(self._weights[name], name)
        self._nodes.append(new)
        self._types |= {name: kind for name in node.output if name in self._floats}

    def _as(self, name: str, kind: int) -> str:
        """The name under which a tensor or weight is there in a type."""
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
            self._used[name] = numpy_helper.from_array(self._weights[name], name)
            return name
        other = f"{name}_{self._precision}"
        if other not in self._used:
            with np.errstate(over="ignore"):
                array = self._weights[name].astype(DTYPES[self._precision])
            if not np.isfinite(array.astype(np.float32)).all():
                raise overflow(self._role, f"weight {name}", self._precision)
            self._used[other] = numpy_helper.from_array(array, other)
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
    """Which nodes stay float32: all in front of the first layer that is not a sum, and the sums
    that an image, a position or the result goes through.
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
    if not is_row_graph:
        _keep_last_sums(graph, kept)
    return kept


def _keep_last_sums(graph: onnx.GraphProto, kept: list[bool]) -> None:
    """Sums that only an `upscaled` output, or another such sum, reads."""
    last = {value.name for value in graph.output if value.name == "upscaled"}
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
    for i, name in enumerate(names):
        if name == old:
            names[i] = new
