"""Writes a quantised image graph for CPUs out of ONNX Runtime's own integer operators.

ONNX Runtime fuses Q/DQ graphs into these operators only with uint8 activations and int32 biases,
which TensorRT does not take, and then spends a third of the time on joins, on changing layouts
and on groups. Here images are [1, h, w, channels] between quantised layers, ReLU is the zero point
0, groups are dense with zeros, and a join is a plain one of bytes: the scales of its parts are
folded into the weights of the 1x1 convolution that reads it.
"""

import copy
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper

from pcsr.export.graphs.layers import (
    Arrays,
    Layers,
    attributes,
    dense,
    groups,
    joins_channels,
    rewritten,
)

from .codes import Code, InputCodes, Integers, Ranges
from .copies import COPIES, copyable
from .weights.rounding import Round, nearest

DOMAIN = "com.microsoft"
_CHANNELS_LAST, _CHANNELS_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)


def cpu_graph(
    model: onnx.ModelProto,
    ranges: Ranges,
    chosen: Collection[str],
    copied: Collection[str] = (),
    rounding: Round = nearest,
) -> onnx.ModelProto:
    """Returns the model with the convolutions named in `chosen` in 8-bit integers.

    Weights are int8, a scale per output channel; activations uint8, a scale per tensor; sums of
    float32 tensors, such as the trunk of residual blocks, stay float32. Inputs and outputs are
    those of `model`.

    ranges: least and largest value of each tensor that a chosen layer reads or makes.
    copied: tensors that are stored in copies (`copies.py`), where only what can read them does.
    rounding: rounds their weights.
    """
    if copied:
        copied = set(copied).intersection(
            copyable(cpu_graph(model, ranges, chosen, rounding=rounding))
        )
    return _CpuGraph(model, ranges, frozenset(chosen), rounding, copied).build()


class _CpuGraph:
    """Writes the nodes of the new graph. A tensor exists there in the forms that somebody needs:
    "nchw" and "nhwc" in float32, "u8" as codes [1, h, w, channels].

    For image -> Conv a -> Conv b -> ReLU r -> Conv out, with b chosen, it writes: Conv a, as it is;
    `a:nhwc` (Transpose) and `a:u8` (QuantizeLinear), because b reads codes; QLinearConv b with the
    code of r, whose zero point does the work of the ReLU, as `r:u8`; `r:nhwc` (DequantizeLinear)
    and `r` (Transpose), because out reads float32 images; and Conv out.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        ranges: Ranges,
        chosen: Collection[str],
        rounding: Round,
        copied: Collection[str],
    ) -> None:
        self._layers, self._ranges, self._chosen = Layers(model), ranges, chosen
        self._rounding, self._copied = rounding, copied
        self._nodes: list[onnx.NodeProto] = []
        self._new: Arrays = {}
        self._forms: dict[tuple[str, str], str] = {
            (value.name, "nchw"): value.name for value in model.graph.input
        }
        self._absorbed: set[str] = set()

    def build(self) -> onnx.ModelProto:
        for node in self._layers.nodes:
            if node.output[0] not in self._absorbed:
                self._add(node)
        for name in self._layers.outputs:
            self._form(name, "nchw")
        built = rewritten(self._layers.model, self._nodes, self._layers.weights | self._new)
        built.opset_import.append(helper.make_opsetid(DOMAIN, 1))
        return built

    def _add(self, node: onnx.NodeProto) -> None:
        if node.op_type == "Conv" and node.name in self._chosen:
            self._add_quantised(node)
        elif node.op_type == "Conv" and self._is_product(node):
            self._add_product(node)
        elif node.op_type == "Conv" and self._layers.activated(node) in self._copied:
            self._add_copied(node)
        elif joins_channels(node):
            return  # made where it is read
        elif node.op_type == "Add" and self._is_sum(node):
            self._add_sum(node)
        elif node.op_type in ("Relu", "LeakyRelu") and self._is_last(node.input[0]):
            self._add_same(node, "nhwc")
        else:
            self._add_same(node, "nchw")

    def _add_copied(self, node: onnx.NodeProto) -> None:
        """Writes a float32 layer that makes what is then stored in copies."""
        weight, bias = self._layers.weights[node.input[1]], self._layers.bias(node)
        code, name = self._code(self._layers.activated(node)), node.output[0]
        order, which = code.stored(len(weight))
        shifted = (bias[order] + code.offsets[which] * code.scale).astype(np.float32)
        kept = {k: v for k, v in attributes(node).items() if k != "group"}  # copies are of all
        inputs = [
            self._form(node.input[0], "nchw"),
            self._constant(f"{name}:w", dense(weight, groups(node))[order]),
            self._constant(f"{name}:bias", shifted),
        ]
        self._nodes.append(helper.make_node("Conv", inputs, [name], name=node.name, **kept))
        self._forms[name, "nchw"] = name

    def _add_same(self, node: onnx.NodeProto, form: str) -> None:
        """Writes a node as it is, on tensors of one form."""
        known = self._layers.weights
        same = copy.deepcopy(node)
        same.input[:] = [n if n in known or not n else self._form(n, form) for n in node.input]
        same.output[:] = [_formed(name, form) for name in node.output]
        self._nodes.append(same)
        self._forms |= {(name, form): _formed(name, form) for name in node.output}

    def _make(
        self,
        operator: str,
        inputs: Sequence[str],
        tensor: str,
        form: str,
        **attributes: Any,  # noqa: ANN401
    ) -> str:
        """Writes a node that makes a tensor in one form; returns the name of that."""
        made = _formed(tensor, form)
        named = {"name": made} | attributes
        self._nodes.append(helper.make_node(operator, inputs, [made], **named))
        self._forms[tensor, form] = made
        return made

    def _add_quantised(self, node: onnx.NodeProto) -> None:
        weight, bias = self._layers.weights[node.input[1]], self._layers.bias(node)
        codes, read = self._input_codes(node, weight.shape[1] * groups(node))
        target = self._absorbing(node)
        made = self._code(target)
        integers = Integers.of(weight, bias, read, made, node.name, self._rounding)
        name = node.output[0]
        inputs = [
            codes,
            self._constant(f"{name}:x_scale", integers.input_scale),
            self._constant(f"{name}:x_zero", integers.input_zero),
            self._constant(f"{name}:w", integers.weight),
            self._constant(f"{name}:w_scale", integers.scale),
            self._constant(f"{name}:w_zero", np.zeros(len(integers.weight), np.int8)),
            *self._code_constants(target),
            self._constant(f"{name}:bias", integers.bias),
        ]
        kept = {k: v for k, v in attributes(node).items() if k != "group"}
        kept |= {"name": node.name, "domain": DOMAIN, "channels_last": 1}
        self._make("QLinearConv", inputs, target, "u8", **kept)

    def _input_codes(self, node: onnx.NodeProto, channels: int) -> tuple[str, InputCodes]:
        """Returns the codes that a layer reads, and how they store its channels."""
        name = node.input[0]
        parts = self._layers.parts(name)
        if len(parts) > 1 and any(attributes(node).get("pads", [0])):
            if not self._has_codes(name):  # one scale, for what pads it with one zero
                inputs = [*self._code_constants(name), *self._coded(parts)]
                self._make("QLinearConcat", inputs, name, "u8", domain=DOMAIN, axis=3)
            parts = [name]
        codes = [self._code(part) for part in parts]
        widths = [channels] if len(parts) == 1 else [self._layers.channels[p] for p in parts]
        return self._joined_codes(name, parts), InputCodes.of(codes, widths)

    def _joined_codes(self, name: str, parts: Sequence[str]) -> str:
        if len(parts) == 1:
            return self._form(parts[0], "u8")
        if (name, "parts") not in self._forms:
            self._make("Concat", [self._form(part, "u8") for part in parts], name, "parts", axis=3)
        return self._forms[name, "parts"]

    def _is_product(self, node: onnx.NodeProto) -> bool:
        """Tells whether an unchosen 1x1 convolution reads codes alone: it is a matrix product."""
        parts = self._layers.parts(node.input[0])
        values = attributes(node)
        plain = (
            self._layers.weights[node.input[1]].shape[2:] == (1, 1)
            and groups(node) == 1
            and not any(values.get("pads", [0]))
            and set(values.get("strides", [1])) == {1}
        )
        return plain and all(map(self._has_codes, parts))

    def _add_product(self, node: onnx.NodeProto) -> None:
        """Writes float32 weights on codes: a float32 layer behind quantised ones costs least so."""
        weight = self._layers.weights[node.input[1]][:, :, 0, 0].astype(np.float64)
        codes, read = self._input_codes(node, weight.shape[1])
        product = (weight * read.scales)[:, read.order].astype(np.float32)
        zeros = read.zeros[read.order]
        bias = self._layers.bias(node) - (product.astype(np.float64) * zeros).sum(axis=1)
        name = node.output[0]
        weights = self._constant(f"{name}:w", np.ascontiguousarray(product.T))
        shift = self._constant(f"{name}:bias", bias.astype(np.float32))
        floats = self._make("Cast", [codes], name, "x", to=onnx.TensorProto.FLOAT)
        products = self._make("MatMul", [floats, weights], name, "product", name=node.name)
        self._make("Add", [products, shift], name, "nhwc")

    def _is_sum(self, node: onnx.NodeProto) -> bool:
        known = self._layers.weights
        return not any(n in known for n in node.input) and any(map(self._is_last, node.input))

    def _add_sum(self, node: onnx.NodeProto) -> None:
        """Writes a sum in 8 bit where both sides and all readers are; else in float32."""
        target = self._layers.activated(node)
        stored = all(map(self._has_codes, node.input))
        if stored and target not in self._layers.outputs and self._only_codes_read(target):
            inputs = [*self._coded(node.input), *self._code_constants(target)]
            self._make("QLinearAdd", inputs, self._absorbing(node), "u8", domain=DOMAIN)
        else:
            self._add_same(node, "nhwc")

    def _only_codes_read(self, name: str) -> bool:
        for node in self._layers.readers[name]:
            is_chosen = node.op_type == "Conv" and node.name in self._chosen
            if not (is_chosen or (joins_channels(node) and self._only_codes_read(node.output[0]))):
                return False
        return True

    def _form(self, name: str, form: str) -> str:
        """Returns a tensor in one form, made from another one where it is not there yet."""
        if (name, form) in self._forms:
            return self._forms[name, form]
        parts = self._layers.parts(name)
        if len(parts) > 1 and not self._has_codes(name):
            inputs = [self._form(part, form) for part in parts]
            return self._make("Concat", inputs, name, form, axis=1 if form == "nchw" else 3)
        if form == "nchw":
            inputs = [self._form(name, "nhwc")]
            return self._make("Transpose", inputs, name, form, perm=_CHANNELS_FIRST)
        if form == "u8":
            inputs = [self._form(name, "nhwc"), *self._code_constants(name)]
            return self._make("QuantizeLinear", inputs, name, form)
        if self._has_codes(name):
            return self._make("DequantizeLinear", self._coded([name]), name, form)
        return self._make("Transpose", [self._form(name, "nchw")], name, form, perm=_CHANNELS_LAST)

    def _has_codes(self, name: str) -> bool:
        return (name, "u8") in self._forms

    def _is_last(self, name: str) -> bool:
        """Tells whether a tensor is there with its channels last."""
        return self._has_codes(name) or (name, "nhwc") in self._forms

    def _absorbing(self, node: onnx.NodeProto) -> str:
        """Returns what a layer makes, its ReLU included: that is the zero point 0 of the code."""
        target = self._layers.activated(node)
        self._absorbed |= {target} - {node.output[0]}
        return target

    def _code(self, name: str) -> Code:
        return Code.of(*self._ranges[name], COPIES if name in self._copied else 1)

    def _code_constants(self, name: str) -> list[str]:
        code = self._code(name)
        scale = self._constant(f"{name}:scale", code.scale)
        return [scale, self._constant(f"{name}:zero", code.zero)]

    def _coded(self, names: Sequence[str]) -> list[str]:
        """Lists the codes of tensors, each followed by scale and zero."""
        return [x for n in names for x in (self._form(n, "u8"), *self._code_constants(n))]

    def _constant(self, name: str, value: Any) -> str:  # noqa: ANN401
        self._new[name] = np.asarray(value)
        return name


def _formed(name: str, form: str) -> str:
    """Names a tensor in one form."""
    return name if form == "nchw" else f"{name}:{form}"
