"""The published evaluation by patches: an image is cut into overlapping patches, the network sees
each by itself, and what overlaps is averaged (`test_pcsr.py` of the published code).
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from pcsr.errors import ImageError, UsageError
from pcsr.runtime.inputs.arguments import checked, whole
from pcsr.runtime.routing.request import RoutingRequest
from pcsr.runtime.together.batch import upscale_together
from pcsr.runtime.upscaler import Upscaler
from pcsr.text import size_text

Floats = NDArray[np.float32]
Size = tuple[int, int]
ARGUMENTS = {name: whole("be a whole number from 1 on", 1) for name in ("side", "step", "batch")}


@dataclass(frozen=True)
class Patches:
    """Says how an image is cut into square patches. The defaults are the published ones.

    Examples:
        >>> from pcsr.calibration.evaluation.patches import Patches
        >>> patches = Patches(side=12, step=8)
        >>> patches.cropped((27, 40)), patches.cut(photo).shape
        ((20, 36), (8, 12, 12, 3))

    Raises:
        UsageError: a value that is no whole number from 1 on, or patches that leave pixels out
            between them.
    """

    side: int = 32
    """The side of a patch, LR pixels."""
    step: int = 28
    """From one patch to the next, LR pixels; at most the side."""
    batch: int = 96
    """How many patches share the statistics that ADM and a share of heavy pixels need, from the
    first one on; the last batch is smaller."""

    def __post_init__(self) -> None:
        for name, value in checked(vars(self), ARGUMENTS).items():
            object.__setattr__(self, name, value)
        if self.step > self.side:
            raise UsageError(
                f"the step between patches must be at most their side ({self.side} px), found "
                f"{self.step} px: pixels between them would be left out"
            )

    def cropped(self, size: Size) -> Size:
        """Gives the (height, width) that patches of an LR image of `size` cover: whole steps from
        the upper left corner on.

        Raises:
            UsageError: the image is smaller than a patch.
        """
        rows, columns = self.grid(size)
        return (rows - 1) * self.step + self.side, (columns - 1) * self.step + self.side

    def grid(self, size: Size) -> Size:
        """Counts the rows and columns of patches of an LR image of (height, width).

        Raises:
            UsageError: the image is smaller than a patch.
        """
        if min(size) < self.side:
            raise UsageError(
                f"an image of {size_text(size)} pixels is smaller than a patch of "
                f"{size_text((self.side, self.side))}; take smaller patches, or the whole image"
            )
        rows, columns = ((n - self.side) // self.step + 1 for n in size)
        return rows, columns

    def cut(self, lr: NDArray[Any]) -> NDArray[Any]:
        """Cuts an LR image [h, w, 3] into patches [N, side, side, 3], row by row. What lies beyond
        whole steps is left out.

        Raises:
            UsageError: the image is smaller than a patch.
        """
        self.grid((lr.shape[0], lr.shape[1]))
        windows = sliding_window_view(lr, (self.side, self.side), axis=(0, 1))
        patches = windows[:: self.step, :: self.step].transpose(0, 1, 3, 4, 2)
        return patches.reshape(-1, self.side, self.side, lr.shape[2])

    def joined(self, patches: Floats, size: Size, scale: float) -> Floats:
        """Joins upscaled patches [N, S, S, 3] float32, S = side * scale, into an image [H, W, 3];
        where several lie it has their mean.

        size: (height, width) of the LR image, cut to whole steps or not.

        Raises:
            UsageError: as `check_scale`, the image is smaller than a patch, or another number or
                size of patches than it has.
        """
        side, _ = self.upscaled(scale)
        rows, columns = self.grid(size)
        if patches.shape != (rows * columns, side, side, 3):
            raise UsageError(
                f"expected patches {[rows * columns, side, side, 3]}, found {list(patches.shape)}"
            )
        image = _Sum(self, size, scale)
        image.add(patches)
        return image.mean()

    def upscaled(self, scale: float) -> Size:
        """Gives the side and the step in output pixels.

        Raises:
            UsageError: they are no whole numbers at this scale.
        """
        side, step = self.side * scale, self.step * scale
        if side != round(side) or step != round(step):
            raise UsageError(
                f"at scale {scale:g} patches of {self.side} px every {self.step} px do not lie on "
                "whole output pixels; take a whole scale, or a side and a step that fit"
            )
        return round(side), round(step)


@dataclass(frozen=True)
class PatchedResult:
    """An image that was upscaled patch by patch, and what that took over all patches."""

    image: Floats
    """[H, W, 3] float32 RGB, nominally in [0, 1], neither clipped nor rounded."""
    pixels_per_upsampler: tuple[int, ...]
    """The pixels of all patches by upsampler, heaviest first; empty for a plain network."""
    paper_flops: float
    """FLOPs in the paper's convention."""
    macs: float
    """Multiply-adds of the exported graphs."""
    total_ms: float
    """Wall milliseconds, from cutting to joining."""
    patches: int
    """How many there were."""


def upscale_patches(
    upscaler: Upscaler,
    lr: NDArray[np.uint8] | Floats,
    scale: float | None,
    request: RoutingRequest,
    patches: Patches,
) -> PatchedResult:
    """Upscales an image as the published evaluation by patches does: each patch is an image of its
    own to the network, with its own borders; the patches of a batch share ADM's clusters; what the
    network gives is neither clipped nor rounded before the patches are joined.

    Of the results no more than those of one batch are held beside the image.

    Examples:
        >>> from pcsr import Upscaler
        >>> from pcsr.calibration.evaluation.patches import Patches, upscale_patches
        >>> from pcsr.runtime.routing.request import RoutingRequest
        >>> upscaler, adm = Upscaler("carn-pcsr/"), RoutingRequest(adaptive=True)
        >>> result = upscale_patches(upscaler, photo, 4, adm, Patches(side=12, step=8))
        >>> result.image.shape, result.patches
        ((80, 144, 3), 8)

    Args:
        lr: [h, w, 3] uint8, or float32 nominally in [0, 1]. It is cut here to whole steps, which
            `patches.cropped` gives; an HR image to compare with is cut to these times the scale.
        scale: None takes the scale the network was trained for.

    Raises:
        ImageError: another array.
        UsageError: the image is smaller than a patch; a scale at which patches do not lie on whole
            output pixels; a budget, or else as `upscale_together`.
    """
    begin = perf_counter()
    if lr.dtype not in (np.uint8, np.float32) or lr.ndim != 3 or lr.shape[2] != 3:
        raise ImageError(
            f"expected RGB uint8 or float32 [height, width, 3], found {lr.dtype} {list(lr.shape)}"
        )
    scale, _ = upscaler.completed(scale, request)
    image = _Sum(patches, (lr.shape[0], lr.shape[1]), scale)
    cut = patches.cut(lr)
    counts = []
    for first in range(0, len(cut), patches.batch):
        part = cut[first : first + patches.batch].astype(np.float32)
        if cut.dtype == np.uint8:
            part /= np.float32(255)
        result = upscale_together(upscaler, part, scale, request)
        image.add(result.image)
        counts.append(result.stats.pixels_per_upsampler)
    total = tuple(map(sum, zip(*counts, strict=True)))
    costs, side = upscaler.bundle.manifest.costs, patches.upscaled(scale)[0]
    # One column of all patches: the work depends on their pixels alone.
    work = ((len(cut) * patches.side, patches.side), (len(cut) * side, side), total)
    mean = image.mean()
    total_ms = 1000 * (perf_counter() - begin)
    return PatchedResult(
        mean, total, costs.paper_flops(*work), costs.macs(*work), total_ms, len(cut)
    )


class _Sum:
    """The sum of upscaled patches where they lie in the image, added in their order."""

    def __init__(self, patches: Patches, size: Size, scale: float) -> None:
        self._side, self._step = patches.upscaled(scale)
        self._grid = patches.grid(size)
        height, width = ((n - 1) * self._step + self._side for n in self._grid)
        self._sum: Floats = np.zeros((height, width, 3), dtype=np.float32)
        self._places = self._each_place()

    def _each_place(self) -> Iterator[tuple[slice, slice]]:
        for place in itertools.product(*map(range, self._grid)):
            y, x = (n * self._step for n in place)
            yield slice(y, y + self._side), slice(x, x + self._side)

    def add(self, patches: Floats) -> None:
        """Adds the next patches [n, S, S, 3]."""
        for patch in patches:
            self._sum[next(self._places)] += patch

    def mean(self) -> Floats:
        """Gives the image; nothing may be added any more."""
        rows, columns = map(self._covers, self._grid)
        columns = columns.repeat(3)
        for line, count in zip(self._sum.reshape(len(rows), -1), rows, strict=True):
            line /= count * columns
        return self._sum

    def _covers(self, count: int) -> Floats:
        """Counts how many of `count` patches in a line cover each of its pixels."""
        covers = np.zeros((count - 1) * self._step + self._side, dtype=np.float32)
        for first in range(0, count * self._step, self._step):
            covers[first : first + self._side] += 1
        return covers
