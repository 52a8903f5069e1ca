"""Optimization profiles: the sizes that engines take. Sizes are (height, width) of the input."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from pcsr.errors import UsageError
from pcsr.manifest import Model

Size = tuple[int, int]

MOST_ELEMENTS = 2**31 - 1  # of one TensorRT tensor
DEFAULT_OPT = (540, 960)
DEFAULT_SIDE = 1920
DEFAULT_ROWS = 2**18
MOST_ROWS = 2**20


@dataclass(frozen=True)
class Shapes:
    """The sizes that a user asks for; None leaves the choice to us."""

    min: Size | None = None
    opt: Size | None = None
    max: Size | None = None

    @classmethod
    def static(cls, size: Size) -> "Shapes":
        """Asks for one size and no other."""
        return cls(size, size, size)


@dataclass(frozen=True)
class ShapeProfile:
    """The shapes that engines take, and those that they are tuned for."""

    min: Size
    opt: Size
    max: Size
    rows_opt: int = DEFAULT_ROWS
    """The usual number of rows of a row graph; the smallest is 0. With four neighbours of each row
    a quarter, here as in `rows_max`."""
    rows_max: int = MOST_ROWS

    def __str__(self) -> str:
        sizes = dict.fromkeys((self.min, self.opt, self.max))
        return "-".join(format_size(size) for size in sizes)

    @property
    def folder_part(self) -> str:
        """Names the sizes in an engine folder: HEIGHTxWIDTH, as in folders that are there."""
        sizes = dict.fromkeys((self.min, self.opt, self.max))
        return "-".join(f"{height}x{width}" for height, width in sizes)

    @property
    def image_sizes(self) -> tuple[Size, Size, Size]:
        """The sizes of the input of `backbone` or `network`: smallest, usual, largest."""
        return self.min, self.opt, self.max

    @property
    def pixel_counts(self) -> tuple[int, ...]:
        """The rows of the row maps, one per pixel of the image."""
        return tuple(math.prod(size) for size in self.image_sizes)

    @property
    def row_counts(self) -> tuple[int, int, int]:
        """The pixels of one call of a row graph, times their neighbours."""
        return 0, self.rows_opt, self.rows_max

    def takes(self, size: Size) -> bool:
        """Says whether an image of this size may be run."""
        return all(self.min[axis] <= size[axis] <= self.max[axis] for axis in range(2))


def choose_profile(shapes: Shapes, most_pixels: int, rows_max: int = MOST_ROWS) -> ShapeProfile:
    """Makes the profile for what was asked for.

    Where a size is left out, the smallest image is 1x1; the usual one 960x540 (4K at x4); the
    largest a square, so that portrait fits, of 1920 or what the element limit allows
    (`most_pixels`), whichever is smaller, and no smaller than the others. Engines take memory for
    the image that they run, not for the largest.

    Raises:
        UsageError: not min <= opt <= max, or larger than the element limit allows.
    """
    low = shapes.min or (1, 1)
    side = min(DEFAULT_SIDE, math.isqrt(most_pixels))
    high = shapes.max or _each(max, (side, side), _each(max, low, shapes.opt or low))
    usual = shapes.opt or _each(max, low, _each(min, high, DEFAULT_OPT))
    profile = ShapeProfile(low, usual, high, min(DEFAULT_ROWS, rows_max), rows_max)
    low, usual, high = profile.image_sizes
    if not all(low[i] <= usual[i] <= high[i] for i in range(2)):
        raise UsageError(
            f"the smallest size {format_size(low)}, the usual {format_size(usual)} and the largest "
            f"{format_size(high)} must not shrink in height or width"
        )
    if math.prod(high) > most_pixels:
        raise UsageError(
            f"the largest size {format_size(high)} has {math.prod(high)} pixels; TensorRT's limit "
            f"of 2^31-1 elements per tensor allows {most_pixels} for this network; choose a "
            "smaller --max-shape (larger images are tiled)"
        )
    return profile


def row_limits(model: Model) -> tuple[int, int]:
    """Gives the most input pixels of a row map and the most rows of a call, so that no tensor of
    the classifier and the upsamplers has too many elements. A row with four neighbours counts as
    four: TensorRT may evaluate them together.
    """
    widths = [*(u.widths for u in model.upsamplers), model.classifier_widths or ()]
    widest = max((width for mlp in widths for width in mlp), default=1)
    return MOST_ELEMENTS // max(widest, 3), min(MOST_ROWS, MOST_ELEMENTS // max(widest, 3))


def input_limits(name: str, shape: tuple[int, ...], profile: ShapeProfile) -> list[tuple[int, ...]]:
    """Gives the smallest, usual and largest shape of an input of an engine that is not fixed."""
    if name == "image":
        return [(*shape[:2], *size) for size in profile.image_sizes]
    if name == "features":
        return [(count, *shape[1:]) for count in profile.pixel_counts]
    neighbours = math.prod(shape[1:]) // (2 if name == "offset" else 1)
    return [(count // neighbours, *shape[1:]) for count in profile.row_counts]


def format_size(size: Size) -> str:
    """Writes (540, 960) as `960x540`."""
    return f"{size[1]}x{size[0]}"


def _each(choose: Callable[[int, int], int], one: Size, other: Size) -> Size:
    return choose(one[0], other[0]), choose(one[1], other[1])
