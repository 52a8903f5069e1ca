"""Finds how far an ONNX graph of images looks around, from its nodes alone: exact tiles need that.

A value at index i of a tensor that has `scale` values per input pixel stands at i / scale, and
depends on the input pixels from i / scale + first to i / scale + last.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import onnx
from onnx import numpy_helper

from .layers import attributes
from .pixel_blocks import with_blocks
from .shape_labels import Labels, known_labels, same_places

ELEMENTWISE = frozenset({
    "Abs", "Add", "BatchNormalization", "Cast", "Clip", "Div", "Elu", "Erf", "Exp", "Gelu",
    "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Log", "Max", "Min", "Mish", "Mul", "Neg",
    "PRelu", "Pow", "Reciprocal", "Relu", "Sigmoid", "Softplus", "Sqrt", "Sub", "Tanh", "Transpose",
    "Where",
})  # fmt: skip
RESHAPING = frozenset({"Flatten", "Reshape", "Squeeze", "Unsqueeze"})
ALONG_AXIS = frozenset({"Concat", "Gather", "Softmax", "Split"})
REDUCTIONS = frozenset({"ReduceMean", "ReduceSum", "ReduceMax", "ReduceL2", "LayerNormalization"})
GLOBAL = frozenset({
    "GlobalAveragePool", "GlobalMaxPool", "InstanceNormalization", "GroupNormalization",
})  # fmt: skip
SHAPED_BY_SIZE = RESHAPING | {"Expand", "Resize", "Slice"}
WHOLE_IMAGE = "reads the whole image"
ATTENTION = "multiplies pixels with each other, as attention does"
TELLING = (WHOLE_IMAGE, ATTENTION)
SAMPLED: Mapping[str, tuple[Fraction, Fraction]] = {
    "nearest": (Fraction(-1), Fraction(1)),
    "linear": (Fraction(-3, 2), Fraction(1)),
    "cubic": (Fraction(-5, 2), Fraction(2)),
}
"""How far (first, last) a Resize looks from where it stands, in pixels of its input."""


@dataclass(frozen=True)
class Obstacle:
    """An operator that has no bounded receptive field."""

    operator: str
    reason: str

    def __str__(self) -> str:
        return f"{self.operator} {self.reason}"


@dataclass(frozen=True)
class ReceptiveField:
    """How far a graph looks around."""

    radius_px: int | None
    """The furthest input pixel that an output pixel depends on, from the input pixel that it lies
    in; None where that is not bounded."""
    obstacles: tuple[Obstacle, ...]
    """Why it is not; those that read the whole image come first."""


def receptive_field(model: onnx.ModelProto) -> ReceptiveField:
    """Finds the receptive field of a graph [1, C, h, w] -> outputs at the same or a higher
    resolution. Only operators that are known to be bounded, and to treat all positions alike, count
    as bounded.
    """
    labels = known_labels(model)
    finder = _Finder(model, labels)
    for node in with_blocks(model.graph.node, labels):
        finder.visit(node)
    if finder.obstacles:
        first_global = sorted(finder.obstacles, key=lambda one: one.reason not in TELLING)
        return ReceptiveField(None, tuple(dict.fromkeys(first_global)))
    spans = [finder.spans[value.name] for value in model.graph.output]
    return ReceptiveField(max(span.radius_px for span in spans), ())


def receptive_radius(model: onnx.ModelProto) -> int | None:
    """Returns the radius alone, in input pixels."""
    return receptive_field(model).radius_px


@dataclass(frozen=True)
class _Span:
    first: Fraction = Fraction(0)
    last: Fraction = Fraction(0)
    scale: Fraction = Fraction(1)

    def looking(self, first: Fraction | int, last: Fraction | int, up: int = 1) -> "_Span":
        """Looks further by some of its own pixels; then it has `up` times as many of them."""
        more = (Fraction(step) / self.scale for step in (first, last))
        return _Span(self.first + next(more), self.last + next(more), self.scale * up)

    @property
    def radius_px(self) -> int:
        return max(0, math.floor(-self.first), math.floor(self.last + 1 - 1 / self.scale))


class _Unbounded(Exception):
    """Says why a node has no bounded receptive field."""


class _Finder:
    """Goes through a graph, node by node."""

    def __init__(self, model: onnx.ModelProto, labels: Mapping[str, Labels]) -> None:
        graph = model.graph
        self._labels = labels
        self._constants = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
        self._sizes: set[str] = set()
        self.spans = {value.name: _Span() for value in graph.input}
        self.obstacles: list[Obstacle] = []

    def visit(self, node: onnx.NodeProto) -> None:
        """Finds how far the outputs of a node look."""
        if node.op_type == "Shape":
            self._sizes |= set(node.output)
            return
        read = [self.spans[name] for name in node.input if name in self.spans]
        by_size = any(name in self._sizes for name in node.input)
        if not read:
            self._visit_constant(node, by_size)
            return
        span = _joint(read)
        try:
            if by_size and node.op_type not in SHAPED_BY_SIZE:
                raise _Unbounded("computes with the image's size")
            span = self._span(node, span)
        except _Unbounded as error:
            self.obstacles.append(Obstacle(node.op_type, str(error)))
        self.spans |= dict.fromkeys(node.output, span)

    def _visit_constant(self, node: onnx.NodeProto, by_size: bool) -> None:
        if node.op_type == "Constant":
            self._constants[node.output[0]] = _constant(node)
        is_spread = node.op_type in ("Expand", "ConstantOfShape")  # one value for all positions
        if by_size and not (is_spread and node.input[0] not in self._sizes):
            self._sizes |= set(node.output)

    def _span(self, node: onnx.NodeProto, span: _Span) -> _Span:
        kind = node.op_type
        if kind in GLOBAL:
            raise _Unbounded(WHOLE_IMAGE)
        dynamic = [name for name in node.input if name in self.spans]
        if kind == "MatMul" and len(dynamic) > 1:
            raise _Unbounded(ATTENTION)
        if any(name not in self._labels for name in (*dynamic, *node.output) if name):
            raise _Unbounded("has shapes that do not follow from the image's size")
        if kind in ELEMENTWISE or kind == "Expand":
            return span
        if kind in RESHAPING:
            if not same_places(self._labels[node.input[0]], self._labels[node.output[0]]):
                raise _Unbounded("moves pixels to other positions")
            return span
        if kind in ALONG_AXIS | REDUCTIONS:
            self._refuse_positions(node)
            return span
        if kind in ("MatMul", "Gemm"):
            return self._product(node, span)
        rule = getattr(self, f"_{kind.lower()}", None)
        if rule is None:
            raise _Unbounded("looks around by an extent that is not known")
        found: _Span = rule(node, span)
        return found

    def _refuse_positions(self, node: onnx.NodeProto) -> None:
        """Refuses what joins values along height or width."""
        labels = self._labels[node.input[0]]
        if any(labels.is_position(axis) for axis in self._axes(node, labels.rank)):
            is_join = node.op_type in ("Concat", "Gather", "Split")
            raise _Unbounded("moves pixels to other positions" if is_join else WHOLE_IMAGE)

    def _axes(self, node: onnx.NodeProto, rank: int) -> Sequence[int]:
        values = attributes(node)
        if node.op_type == "LayerNormalization":
            return range(values.get("axis", -1) % rank, rank)
        if node.op_type in ALONG_AXIS:
            default = -1 if node.op_type == "Softmax" else 0
            return [int(values.get("axis", default))]
        if "axes" in values:
            return [int(axis) for axis in values["axes"]]
        if len(node.input) < 2 or not node.input[1]:
            return [] if values.get("noop_with_empty_axes") else range(rank)
        return [int(axis) for axis in self._constant(node, 1).reshape(-1)]

    def _constant(self, node: onnx.NodeProto, index: int) -> Any:  # noqa: ANN401
        name = node.input[index] if index < len(node.input) else ""
        if name not in self._constants:
            raise _Unbounded("depends on the image's size")
        return self._constants[name]

    def _product(self, node: onnx.NodeProto, span: _Span) -> _Span:
        first, second = node.input[:2]
        if first in self.spans and second in self.spans:
            raise _Unbounded(ATTENTION)
        name, axis = (first, -1) if first in self.spans else (second, -2)
        if node.op_type == "Gemm" and (name != first or attributes(node).get("transA")):
            raise _Unbounded("multiplies along an axis that is not known")
        labels = self._labels[name]
        if labels.is_position(max(axis, -labels.rank)):
            raise _Unbounded(WHOLE_IMAGE)
        return span

    def _window(self, node: onnx.NodeProto) -> tuple[list[int], list[int], list[int], list[int]]:
        """Gives kernel, strides, dilations and pads (begins, then ends), over height and width."""
        values = attributes(node)
        if any(name in self.spans for name in node.input[1:]):
            raise _Unbounded("has weights that depend on the image")
        if not self._labels[node.input[0]].is_image:
            raise _Unbounded("does not slide over height and width")
        auto = values.get("auto_pad", b"NOTSET")
        if auto not in (b"NOTSET", b"VALID"):
            raise _Unbounded("is padded by the image's size")
        kernel = values.get("kernel_shape") or self._constants[node.input[1]].shape[2:]
        ones, pads = [1] * len(kernel), [0] * 2 * len(kernel)
        strides, dilations = values.get("strides", ones), values.get("dilations", ones)
        return list(kernel), list(strides), list(dilations), list(values.get("pads", pads))

    def _conv(self, node: onnx.NodeProto, span: _Span) -> _Span:
        kernel, strides, dilations, pads = self._window(node)
        if set(strides) != {1}:
            raise _Unbounded("has strides: where it looks depends on where a tile begins")
        before = max(pads[: len(kernel)])
        reach = [(k - 1) * d for k, d in zip(kernel, dilations, strict=True)]
        after = max(r - p for r, p in zip(reach, pads, strict=False))
        return span.looking(-before, after)

    _maxpool = _averagepool = _conv

    def _convtranspose(self, node: onnx.NodeProto, span: _Span) -> _Span:
        kernel, strides, dilations, pads = self._window(node)
        if len(set(strides)) != 1:
            raise _Unbounded("upsamples height and width differently")
        (up,) = set(strides)
        reach = [(k - 1) * d for k, d in zip(kernel, dilations, strict=True)]
        before = max(r - p for r, p in zip(reach, pads, strict=False))
        after = max(pads[: len(kernel)])
        return span.looking(Fraction(-before, up), Fraction(after, up), up)

    def _depthtospace(self, node: onnx.NodeProto, span: _Span) -> _Span:
        up = attributes(node)["blocksize"]
        return span.looking(Fraction(1 - up, up), 0, up)

    def _spacetodepth(self, node: onnx.NodeProto, span: _Span) -> _Span:
        down = attributes(node)["blocksize"]
        read = span.looking(0, down - 1)
        return replace(read, scale=read.scale / down)

    def _resize(self, node: onnx.NodeProto, span: _Span) -> _Span:
        values = attributes(node)
        mode = values.get("mode", b"nearest").decode()
        before, after = self._labels[node.input[0]], self._labels[node.output[0]]
        up = after.scale / before.scale if before.is_image and after.is_image else Fraction(0)
        if up < 1 or up.denominator != 1 or mode not in SAMPLED or "axes" in values:
            raise _Unbounded("resizes by a factor that is no whole number")
        position = values.get("coordinate_transformation_mode", b"half_pixel")
        if position not in (b"half_pixel", b"asymmetric", b"pytorch_half_pixel"):
            raise _Unbounded("depends on the image's size")
        return span.looking(*SAMPLED[mode], up.numerator)

    def _slice(self, node: onnx.NodeProto, span: _Span) -> _Span:
        labels = self._labels[node.input[0]]
        has_axes = len(node.input) > 3 and node.input[3]
        axes = [int(a) for a in self._constant(node, 3)] if has_axes else [*range(labels.rank)]
        if not any(labels.is_position(axis) for axis in axes):
            return span
        starts = [int(start) for start in self._constant(node, 1)]
        steps = self._constant(node, 4).tolist() if len(node.input) > 4 else [1] * len(axes)
        moved = [0]
        for start, step, axis in zip(starts, steps, axes, strict=False):
            if labels.is_position(axis):
                if start < 0 or step != 1 or not labels.is_image:
                    raise _Unbounded("begins at a position that depends on the image's size")
                moved.append(start)
        return span.looking(min(moved), max(moved))

    def _pad(self, node: onnx.NodeProto, span: _Span) -> _Span:
        pads = [int(pad) for pad in self._constant(node, 1)]
        rank = self._labels[node.input[0]].rank
        if len(pads) != 2 * rank or not self._labels[node.input[0]].is_image:
            raise _Unbounded("is padded along some axes")
        # What a mirrored pixel stands for lies no further from any output within the image.
        return span.looking(-max(pads[2:4]), -min(pads[2:4]))


def _joint(spans: Sequence[_Span]) -> _Span:
    widest = max(spans, key=lambda span: span.scale)
    first, last = min(span.first for span in spans), max(span.last for span in spans)
    return replace(widest, first=first, last=last)


def _constant(node: onnx.NodeProto) -> Any:  # noqa: ANN401
    (value,) = attributes(node).values()
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value
