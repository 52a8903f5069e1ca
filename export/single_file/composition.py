"""The image of the parts within the graph: bases, the order of pixels, and refinement."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .axes import Axis, counted
from .mlps import Part, stacked
from .writer import GraphWriter


@dataclass(frozen=True)
class Layout:
    """How parts make an image: `scale` phases of each dimension, or bands of rows."""

    rows: Sequence[Axis]
    columns: Sequence[Axis]
    scale: int | None
    """None for bands."""
    size: tuple[str, str]
    """The output's height and width, each [1] int64."""

    @property
    def parts(self) -> list[Part]:
        """Lists the parts, those of the first rows first."""
        return [Part(rows, columns) for rows in self.rows for columns in self.columns]

    def joined(self, write: GraphWriter, parts: Sequence[str]) -> str:
        """Makes an image [1, C, H, W] of its parts [1, C, n, m]."""
        if self.scale is not None:
            channels = stacked(write, parts, 1)
            return write.op("DepthToSpace", channels, blocksize=self.scale, mode="DCR")
        return self._without_repeats(write, stacked(write, parts, 2), self.size[0], 2)

    def joined_masks(self, write: GraphWriter, masks: Sequence[str]) -> str:
        """Makes [1, 1, H, W] float32, 1 or 0, of the masks [n*m] of parts."""
        floats = (
            as_floats(write, mask, part) for mask, part in zip(masks, self.parts, strict=True)
        )
        return self.joined(write, [*floats])

    def listed(self, write: GraphWriter, parts: Sequence[str]) -> str:
        """Makes values [H*W] of all pixels, in any order, of those of the parts [n*m]."""
        values = stacked(write, parts, 0)
        if self.scale is not None:
            return values
        return self._without_repeats(write, values, write.op("Mul", *self.size), 0)

    def _without_repeats(self, write: GraphWriter, values: str, count: str, axis: int) -> str:
        return write.op("Slice", values, write.whole(0), count, write.whole(axis))


def bilinear(write: GraphWriter, image: str, part: Part) -> str:
    """Upsamples an image [1, 3, h, w] to a part [1, 3, n, m]."""
    lines = _blended(write, image, part.columns, 3)
    return _blended(write, lines, part.rows, 2)


def _blended(write: GraphWriter, image: str, axis: Axis, dimension: int) -> str:
    lower = write.gather(image, axis.lower, dimension)
    upper = write.gather(image, axis.upper, dimension)
    weight = write.unsqueeze(axis.weight, 1) if dimension == 2 else axis.weight
    difference = write.op("Sub", upper, lower)
    return write.op("Add", lower, write.op("Mul", difference, weight))


def refined(write: GraphWriter, image: str, heavy: str, size: tuple[str, str]) -> str:
    """Smooths light pixels beside heavy ones (paper section 3.4). image: [1, 3, H, W]; heavy: [1,
    1, H, W] float32, 1 or 0; size: H and W, each [1] int64.
    """
    op = write.op
    widened = op("MaxPool", heavy, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    is_near = op("Greater", widened, heavy)
    inner = [_inner(write, count) for count in size]
    is_inner = op("And", write.unsqueeze(inner[0], 1), inner[1])
    return op("Where", op("And", is_near, is_inner), _mean(write, image), image)


def _mean(write: GraphWriter, image: str) -> str:
    """Averages 3x3 windows: six times as fast as ONNX Runtime's AveragePool."""
    thirds = write.constant(np.full((3, 1, 3, 1), 1 / 3))
    lines = write.op("Conv", image, thirds, group=3, pads=[1, 0, 1, 0])
    across = write.constant(np.full((3, 1, 1, 3), 1 / 3))
    return write.op("Conv", lines, across, group=3, pads=[0, 1, 0, 1])


def _inner(write: GraphWriter, count: str) -> str:
    """Marks all but the first and the last of [1] int64 count pixels."""
    index = counted(write, count)
    last = write.op("Sub", count, write.whole(1))
    above, below = write.op("Greater", index, write.whole(0)), write.op("Less", index, last)
    return write.op("And", above, below)


def as_channel(write: GraphWriter, values: str, part: Part, channels: int) -> str:
    """Makes rows [n*m, C] of a part [1, C, n, m]."""
    image = write.reshape(values, part.rows.count, part.columns.count, channels)
    return write.unsqueeze(write.op("Transpose", image, perm=[2, 0, 1]), 0)


def as_floats(write: GraphWriter, mask: str, part: Part) -> str:
    """Makes a mask [n*m] of a part [1, 1, n, m] float32."""
    return write.reshape(write.cast(mask), 1, 1, part.rows.count, part.columns.count)
