"""The row graphs of a bundle within the one graph: on all output pixels of a part, or on some."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from .axes import Axis, Place
from .writer import GraphWriter

Arrays = dict[str, NDArray[np.float32]]
Located = Callable[[Place, Place], tuple[str, str]]
"""Gives index and offset of some pixels, by their rows' and columns' places."""


@dataclass(frozen=True)
class Part:
    """Output pixels that are computed together: some rows, and of each the same columns."""

    rows: Axis
    columns: Axis


@dataclass(frozen=True)
class Pixels:
    """Some pixels of a part: for each its row and its column among the part's."""

    part: Part
    row: str
    """[N] int64"""
    column: str


@dataclass(frozen=True)
class RowGraph:
    """The graph of one MLP. What it gives is [N, K]."""

    write: GraphWriter
    role: str
    model: onnx.ModelProto
    neighbours: int
    features: str
    """Its row map [h*w, C]."""
    size: tuple[str, str]
    """The input's height and width, each [1] int64."""

    def of(self, pixels: Pixels) -> str:
        """Computes it for some pixels."""
        rows, columns = pixels.part.rows, pixels.part.columns

        def located(y: Place, x: Place) -> tuple[str, str]:
            gather = self.write.gather
            index = self._index(gather(y.nearest, pixels.row), gather(x.nearest, pixels.column))
            return index, self._pairs(gather(y.offset, pixels.row), gather(x.offset, pixels.column))

        return self._run(*self._located(rows, columns, located), pixels.part)

    def of_all(self, part: Part) -> str:
        """Computes it for all pixels of a part, row by row."""
        if self.neighbours == 1:
            return self._from_sums(part)

        def located(y: Place, x: Place) -> tuple[str, str]:
            write = self.write
            index = self._index(write.unsqueeze(y.nearest, 1), write.unsqueeze(x.nearest, 0))
            shape = write.shape(part.rows.count, part.columns.count)
            offsets = [
                write.reshape(write.op("Expand", write.unsqueeze(offset, axis), shape), -1)
                for offset, axis in ((y.offset, 1), (x.offset, 0))
            ]
            return write.reshape(index, -1), self._pairs(*offsets)

        return self._run(*self._located(part.rows, part.columns, located), part)

    def _located(self, rows: Axis, columns: Axis, located: Located) -> tuple[str, str]:
        if self.neighbours == 1:
            return located(rows.place, columns.place)
        assert rows.sides is not None
        assert columns.sides is not None
        corners = [located(*corner) for corner in itertools.product(rows.sides, columns.sides)]
        index, offset = (
            self.write.op("Concat", *(self.write.unsqueeze(one, 1) for one in each), axis=1)
            for each in zip(*corners, strict=True)
        )
        return index, offset

    def _index(self, row: str, column: str) -> str:
        index = self.write.op("Add", self.write.op("Mul", row, self.size[1]), column)
        return self.write.cast(index, TensorProto.INT32)

    def _pairs(self, row: str, column: str) -> str:
        parts = (self.write.unsqueeze(one, 1) for one in (row, column))
        return self.write.op("Concat", *parts, axis=1)

    def _run(self, index: str, offset: str, part: Part) -> str:
        constant = self.write.reshape(self._constant(part), self.width)
        inputs = {"features": self.features, "index": index, "offset": offset}
        return self._insert(inputs | {self._of_cell: constant})

    def _insert(self, inputs: dict[str, str]) -> str:
        outputs = [self.model.graph.output[0].name]
        return self.write.insert(self.model, self.role, inputs, outputs)[0]

    def _from_sums(self, part: Part) -> str:
        """Computes it from the sums that end its first layer: its map, with what rows and columns
        add to it. Nothing is gathered where a part is a phase.
        """
        write, rows, columns = self.write, part.rows, part.columns
        width = self.width
        sums = write.cast(write.reshape(self.features, *self.size, width))
        if not rows.is_phase:
            sums = write.gather(sums, rows.place.nearest)
        by_row = write.op("Add", self._terms(rows.place, 0), self._constant(part))
        sums = write.op("Add", sums, write.unsqueeze(by_row, 1))
        if not columns.is_phase:
            sums = write.gather(sums, columns.place.nearest, axis=1)
        sums = write.op("Add", sums, write.unsqueeze(self._terms(columns.place, 1), 0))
        return self._insert({self._sum: write.reshape(sums, -1, width)})

    def _terms(self, place: Place, dimension: int) -> str:
        """Gives what offsets [n] in one dimension add to the first layer: [n, C]."""
        weight = self._weights["offset_weight"][dimension : dimension + 1]
        return self.write.op(
            "Mul", self.write.unsqueeze(place.offset, 1), self.write.constant(weight)
        )

    def _constant(self, part: Part) -> str:
        """Gives what is the same for all pixels of an image, [1, C]. OpenCV multiplies matrices
        alone, not the vector that the row graph multiplies.
        """
        write = self.write
        cell = write.op("Concat", part.rows.cell, part.columns.cell, axis=0)
        weight = write.constant(self._weights["cell_weight"])
        of_cell = write.op("MatMul", write.unsqueeze(cell, 0), weight)
        return write.op("Add", of_cell, write.constant(self._weights["bias"]))

    @property
    def width(self) -> int:
        """C, the outputs of the first layer."""
        return len(self._weights["bias"])

    @cached_property
    def _weights(self) -> Arrays:
        names = ("offset_weight", "cell_weight", "bias")
        tensors = {tensor.name: tensor for tensor in self.model.graph.initializer}
        return {name: numpy_helper.to_array(tensors[name]) for name in names}

    @cached_property
    def _of_cell(self) -> str:
        """Finds what `_constant` stands for: the last value that follows from the cell alone."""
        given = {"cell", *(tensor.name for tensor in self.model.graph.initializer)}
        found = ""
        for node in self.model.graph.node:
            if given.issuperset(node.input):
                given |= {*node.output}
                found = node.output[0]
        return found

    @cached_property
    def _sum(self) -> str:
        """Finds the value that is the gathered row of the map and the position's part, added."""
        behind = {"features"}
        for node in self.model.graph.node:
            if behind.isdisjoint(node.input):
                continue
            behind |= {*node.output}
            if node.op_type == "Add":
                return str(node.output[0])
        raise ValueError(f"the {self.role} graph adds nothing to its row map")


def stacked(write: GraphWriter, values: Sequence[str], axis: int) -> str:
    """Joins values along an axis, one alone as it is."""
    return values[0] if len(values) == 1 else write.op("Concat", *values, axis=axis)
