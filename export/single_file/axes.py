"""Where output pixels lie on the input, computed within the graph: docs/bundle.md, *Coordinates*.

All of it is in float32, for hosts that have no float64. The one product that has to be rounded
together with a subtraction is made of its exact parts (Dekker's algorithm).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from onnx import TensorProto

from .writer import GraphWriter

SPLITTER = 4097.0  # 2^12 + 1 cuts the 24 bits of a float32 into two halves
SHIFT = 1e-6  # as in pcsr.runtime.geometry.grid
BANDS = 16  # of rows, where a scale has no phases: what is computed at one time


@dataclass(frozen=True)
class Place:
    """One dimension of where output pixels lie: on which input pixels, and the offsets to them."""

    nearest: str
    """[n] int64"""
    offset: str
    """[n] float32"""


@dataclass(frozen=True)
class Axis:
    """Some output pixels of one dimension: the names of tables with an entry for each."""

    count: str
    """[1] int64, how many these are."""
    place: Place
    sides: tuple[Place, Place] | None
    """The input pixels at both sides, where upsamplers have four neighbours."""
    lower: str
    upper: str
    weight: str
    """Bilinear taps, and the share of the upper one in [0, 1]."""
    cell: str
    """[1] float32."""
    is_phase: bool = False
    """Whether the nearest input pixels are all there are, in order."""


def make_axis(write: GraphWriter, inputs: str, outputs: str, has_sides: bool) -> Axis:
    """Computes the tables of all output pixels. inputs, outputs: [1] int64 numbers of pixels."""
    op = write.op
    n, m = write.cast(inputs), write.cast(outputs)
    one, two = write.constant([1.0]), write.constant([2.0])
    last = op("Sub", n, one)

    def centres(count: str, index: str) -> str:
        first = op("Div", op("Sub", one, count), count)
        return op("Add", first, op("Mul", op("Div", two, count), index))

    def place(at: str) -> Place:
        nearest = _between(write, op("Round", _position(write, at, n)), zero, last)
        offset = op("Mul", op("Sub", centre, centres(n, nearest)), n)
        return Place(write.cast(nearest, TensorProto.INT64), offset)

    def side(sign: float) -> Place:
        shift = op("Add", op("Div", write.constant([sign]), n), write.constant([SHIFT]))
        ends = write.constant([-1 + SHIFT]), write.constant([1 - SHIFT])
        return place(_between(write, op("Add", centre, shift), *ends))

    zero = write.constant([0.0])
    centre = centres(m, write.cast(counted(write, outputs)))
    inside = _between(write, _position(write, centre, n), zero, last)
    lower = op("Floor", inside)
    upper = op("Min", op("Add", lower, one), last)
    return Axis(
        outputs,
        place(centre),
        (side(-1.0), side(1.0)) if has_sides else None,
        write.cast(lower, TensorProto.INT64),
        write.cast(upper, TensorProto.INT64),
        op("Sub", inside, lower),
        op("Mul", op("Div", two, m), n),
    )


def phases(write: GraphWriter, axis: Axis, inputs: str, scale: int) -> list[Axis]:
    """Splits an axis of an integer scale into the pixels that lie alike within an input pixel."""
    zero, step = write.whole(0), write.whole(scale)

    def cut(table: str, first: int) -> str:
        return write.op("Slice", table, write.whole(first), axis.count, zero, step)

    parts = [_part(axis, inputs, partial(cut, first=i)) for i in range(scale)]
    return [replace(part, is_phase=True) for part in parts]


def bands(write: GraphWriter, axis: Axis) -> list[Axis]:
    """Splits an axis into BANDS runs of as many pixels each; the last pixel may come again, so that
    none is empty.
    """
    op, one = write.op, write.whole(1)
    filled = op("Add", axis.count, write.whole(BANDS - 1))
    count = op("Div", filled, write.whole(BANDS))
    last, index = op("Sub", axis.count, one), counted(write, count)
    parts = []
    for i in range(BANDS):
        here = op("Add", index, op("Mul", count, write.whole(i)))
        chosen = op("Min", here, last)
        parts.append(_part(axis, count, partial(write.gather, index=chosen)))
    return parts


def counted(write: GraphWriter, count: str) -> str:
    """Makes 0, 1, ... for a [1] int64 count."""
    zero, one = (write.constant(i, np.int64) for i in (0, 1))
    return write.op("Range", zero, write.op("Squeeze", count, write.whole(0)), one)


def _part(axis: Axis, count: str, cut: Callable[[str], str]) -> Axis:
    def cut_place(place: Place) -> Place:
        return Place(cut(place.nearest), cut(place.offset))

    return Axis(
        count,
        cut_place(axis.place),
        (cut_place(axis.sides[0]), cut_place(axis.sides[1])) if axis.sides else None,
        cut(axis.lower),
        cut(axis.upper),
        cut(axis.weight),
        axis.cell,
    )


def _between(write: GraphWriter, value: str, least: str, most: str) -> str:
    return write.op("Min", write.op("Max", value, least), most)


def _position(write: GraphWriter, at: str, n: str) -> str:
    """Turns coordinates in [-1, 1] to input pixels: fma(at + 1, n, -1) / 2."""
    op, one = write.op, write.constant([1.0])
    moved = op("Add", at, one)
    product = op("Mul", moved, n)
    (high, low), (n_high, n_low) = _halves(write, moved), _halves(write, n)
    rest = op("Sub", op("Mul", high, n_high), product)
    for a, b in ((high, n_low), (low, n_high), (low, n_low)):
        rest = op("Add", rest, op("Mul", a, b))
    exact = op("Add", op("Sub", product, one), rest)
    return op("Div", exact, write.constant([2.0]))


def _halves(write: GraphWriter, value: str) -> tuple[str, str]:
    """Splits float32 values exactly in two of 12 bits each."""
    wide = write.op("Mul", value, write.constant([SPLITTER]))
    high = write.op("Sub", wide, write.op("Sub", wide, value))
    return high, write.op("Sub", value, high)
