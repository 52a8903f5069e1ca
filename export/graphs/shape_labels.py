"""Tells which axes of a graph's tensors are height and width, from their shapes at a few sizes."""

import copy
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import onnx
from onnx import shape_inference

from pcsr.reading.graph import read_graph_shapes

Shape = tuple[int, ...]
Axis = Literal["fixed", "h", "w", "both"]
SIZE, TALLER, WIDER = (48, 64), (96, 64), (48, 128)
IMAGE: tuple[Axis, ...] = ("fixed", "fixed", "h", "w")


@dataclass(frozen=True)
class Labels:
    """The axes of one tensor."""

    axes: tuple[Axis, ...]
    """What of the image's size each depends on."""
    shape: Shape
    """At the first of the sizes."""
    scale: Fraction
    """Its rows per input row; 0 where it has no rows."""
    is_even: bool
    """Whether its rows and columns grow alike."""

    @property
    def rank(self) -> int:
        """The number of axes."""
        return len(self.axes)

    @property
    def is_image(self) -> bool:
        """Tells whether it is [n, C, rows, columns]."""
        return self.axes == IMAGE and self.is_even

    def is_position(self, axis: int) -> bool:
        """Tells whether an axis runs over rows, columns or both."""
        return self.axes[axis] != "fixed"


def known_labels(model: onnx.ModelProto) -> Mapping[str, Labels]:
    """Returns the labels of all tensors whose shapes follow from the image's size."""
    try:
        found = [_shapes(model, size) for size in (SIZE, TALLER, WIDER)]
    except shape_inference.InferenceError:
        return {}
    names = set.intersection(*(set(shapes) for shapes in found))
    known = {name: [shapes[name] for shapes in found] for name in names}
    return {
        name: _labels(*shapes)
        for name, shapes in known.items()
        if len({len(shape) for shape in shapes}) == 1 and not any(0 in shape for shape in shapes)
    }


def same_places(before: Labels, after: Labels) -> bool:
    """Tells whether a reshape leaves every value at its row and column, flattened or not."""
    one, other = _strides(before), _strides(after)
    return bool(one) and one == other


def _shapes(model: onnx.ModelProto, size: tuple[int, int]) -> Mapping[str, Shape]:
    fixed = copy.deepcopy(model)
    dims = fixed.graph.input[0].type.tensor_type.shape.dim
    for axis, length in zip((2, 3), size, strict=True):
        dims[axis].dim_value = length
    del fixed.graph.value_info[:]
    for value in fixed.graph.output:
        value.type.tensor_type.ClearField("shape")
    graph = shape_inference.infer_shapes(fixed, strict_mode=True, data_prop=True).graph
    known = {i.name: tuple(i.dims) for i in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        if value.type.tensor_type.HasField("shape"):
            dims = value.type.tensor_type.shape.dim
            known[value.name] = tuple(dim.dim_value for dim in dims)
    if any(0 in shape for shape in known.values()):  # onnx does not follow all sizes
        inputs = {value.name: known[value.name] for value in graph.input}
        with suppress(ValueError):  # an operator of no bundle
            known |= read_graph_shapes(model.SerializeToString()).shapes(inputs)
    return known


def _labels(shape: Shape, taller: Shape, wider: Shape) -> Labels:
    axes: list[Axis] = []
    for here, by_height, by_width in zip(shape, taller, wider, strict=True):
        grows = by_height != here, by_width != here
        kinds: dict[tuple[bool, bool], Axis] = {(True, False): "h", (False, True): "w"}
        axes.append(kinds.get(grows, "both" if all(grows) else "fixed"))
    rows = _growth(axes, "h", shape, taller, TALLER[0] - SIZE[0])
    columns = _growth(axes, "w", shape, wider, WIDER[1] - SIZE[1])
    return Labels(tuple(axes), shape, rows, rows == columns)


def _growth(axes: list[Axis], kind: Axis, shape: Shape, other: Shape, step: int) -> Fraction:
    found = [i for i, axis in enumerate(axes) if axis == kind]
    return Fraction(other[found[0]] - shape[found[0]], step) if len(found) == 1 else Fraction(0)


def _strides(labels: Labels) -> list[tuple[int, int]]:
    """Gives length and step in memory of what runs over rows and columns: of both as one, where
    they lie one behind the other.
    """
    found = []
    for axis, kind in enumerate(labels.axes):
        if kind != "fixed":
            found.append((labels.shape[axis], math.prod(labels.shape[axis + 1 :])))
    if len(found) == 2:
        (rows, step), (columns, inner) = found
        if step == columns * inner and labels.axes.index("h") < labels.axes.index("w"):
            return [(rows * columns, inner)]
    return found
