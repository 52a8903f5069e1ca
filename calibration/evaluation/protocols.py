"""Defines how images are compared: whole, cut to what patches cover, or patch by patch."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pcsr.errors import UsageError
from pcsr.metrics import Pixels
from pcsr.runtime.layout import RGB8, as_rgb8
from pcsr.runtime.result import heavy_share
from pcsr.runtime.routing.request import RoutingRequest
from pcsr.runtime.upscaler import Upscaler

from .patches import Patches, upscale_patches

PATCH_PX, PATCH_BATCH = Patches.side, Patches.batch
OVERLAP_PX = Patches.side - Patches.step


@dataclass(frozen=True, kw_only=True)
class PatchOptions:
    """Says which patches are evaluated. None stands for the published test's values."""

    patches: tuple[int, ...] = ()
    """Sides of patches in LR pixels, each a protocol beside that of whole images."""
    step: int | None = None
    """From one patch to the next, LR pixels; None: the side less 4."""
    patch_batch: int | None = None
    """How many patches share the statistics of a rule; None: 96."""
    crop: bool = False
    """Whether whole images are cut to what patches cover."""


@dataclass(frozen=True)
class Outcome:
    """What a network made of an image, and what that took."""

    image: NDArray[np.uint8]
    """[H, W, 3]"""
    pixels_per_upsampler: Sequence[int]
    paper_flops: float
    macs: float
    total_ms: float

    @property
    def heavy_percent(self) -> float | None:
        """Share of the heavier half's pixels; None for a plain network."""
        counts = self.pixels_per_upsampler
        return 100 * heavy_share(counts) if counts else None


@dataclass(frozen=True)
class Protocol:
    """Says what of an image is compared, and whether networks see it whole."""

    name: str
    patches: Patches | None = None
    """What images are cut for; None leaves them as they are."""
    by_patches: bool = False

    def cut(self, hr: Pixels, lr: Pixels, scale: float) -> tuple[Pixels, Pixels]:
        """Cuts HR [H,W,3] and LR [h,w,3], at the right and below, to what whole patches cover.

        Raises:
            UsageError: the image is smaller than a patch.
        """
        if self.patches is None:
            return hr, lr
        height, width = self.patches.cropped((lr.shape[0], lr.shape[1]))
        return hr[: round(height * scale), : round(width * scale)], lr[:height, :width]

    def upscale(
        self, upscaler: Upscaler, lr: Pixels, scale: float, request: RoutingRequest
    ) -> Outcome:
        """Upscales an LR image that was cut, uint8 or float32, whole or by patches, to 8 bits."""
        if self.patches is None or not self.by_patches:
            return _whole(upscaler, lr, scale, request)
        made = upscale_patches(upscaler, lr, scale, request, self.patches)
        figures = (made.pixels_per_upsampler, made.paper_flops, made.macs, made.total_ms)
        return Outcome(RGB8.from_network(made.image), *figures)

    def warm_up(
        self, upscaler: Upscaler, lr: Pixels, scale: float, request: RoutingRequest
    ) -> None:
        """Makes the first call of a shape."""
        self.upscale(upscaler, lr, scale, request)


def _whole(upscaler: Upscaler, lr: Pixels, scale: float, request: RoutingRequest) -> Outcome:
    result = upscaler.run(np.ascontiguousarray(lr), scale, request)
    costs, stats = upscaler.bundle.manifest.costs, result.stats
    work = (stats.lr_size, stats.hr_size, stats.pixels_per_upsampler)
    made = (costs.paper_flops(*work), costs.macs(*work), stats.total_ms)
    return Outcome(as_rgb8(result.image), stats.pixels_per_upsampler, *made)


def protocols_of(options: PatchOptions) -> tuple[Protocol, ...]:
    """Lists the protocol of whole images, cut where that is asked for, and one per size of patch.

    Raises:
        UsageError: patches that cannot be, options of patches without any, or images to be cut for
            patches of several sizes.
    """
    sides = tuple(dict.fromkeys(options.patches))
    if not sides and not options.crop:
        for name, given in {"--step": options.step, "--patch-batch": options.patch_batch}.items():
            if given is not None:
                raise UsageError(f"{name} says how patches are cut; add --patches or --crop")
        return (Protocol("image"),)
    if options.crop and len(sides) > 1:
        raise UsageError(
            f"images are cut for patches of one size, found --patches {_listed(sides)}; name one, "
            "or leave out --crop"
        )
    cuts = [_patches(side, options) for side in sides]
    whole = Protocol("image")
    if options.crop:
        cut = (cuts or [_patches(PATCH_PX, options)])[0]
        whole = Protocol(f"cropped {cut.side}/{cut.step}", cut)
    return (whole, *(Protocol(f"patches {cut.side}/{cut.step}", cut, True) for cut in cuts))


def _listed(sides: Sequence[int]) -> str:
    return " and ".join(map(str, sides))


def _patches(side: int, options: PatchOptions) -> Patches:
    if options.step is None and 1 <= side <= OVERLAP_PX:
        raise UsageError(
            f"patches of {side} px do not overlap by {OVERLAP_PX} px; name a --step up to {side}"
        )
    step = max(1, side - OVERLAP_PX) if options.step is None else options.step
    batch = PATCH_BATCH if options.patch_batch is None else options.patch_batch
    return Patches(side, step, batch)
