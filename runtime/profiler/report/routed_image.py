"""An upscaled image in the report, and which upsampler made which of its pixels."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyvips

from pcsr.overlay import class_colours, draw_overlay

_LONGEST_SIDE = 960
_QUALITY = 85


@dataclass(frozen=True, eq=False)
class RoutedImage:
    """A routed image is an upscaled one, and which upsampler made which of its pixels.

    image [h,w,3], upscaled [H,W,3]: uint8. assignment: [H,W] uint8, 0 = heaviest; None for a plain
    network. pixels: of each upsampler, the heaviest first. name: what it is called in the report.
    """

    image: np.ndarray
    upscaled: np.ndarray
    assignment: np.ndarray | None
    pixels: Sequence[int]
    name: str

    def pictures(self) -> dict[str, np.ndarray]:
        """Gives what the report shows of it, by caption; the routing first, where there is one.

        Raises:
            ImageError, UsageError: as draw_overlay, where the arrays do not fit each other.
        """
        shown = {"Input": self.image, "Upscaled": self.upscaled}
        if self.assignment is None:
            return shown
        return {"Routing": draw_overlay(self.upscaled, self.assignment, len(self.pixels))} | shown


class UpsamplerShare(NamedTuple):
    """Holds what one upsampler made. colour: "#rrggbb" in the routing overlay. share: of all
    pixels.
    """

    name: str
    colour: str
    pixels: int
    share: float


def upsampler_shares(counts: Sequence[int]) -> list[UpsamplerShare]:
    """Names each upsampler, from the heaviest to the lightest."""
    last, whole = len(counts) - 1, sum(counts)
    ends = {0: " (heaviest)", last: " (lightest)"} if last > 0 else {}
    colours = np.rint(class_colours(len(counts))).astype(np.uint8)
    return [
        UpsamplerShare(f"upsampler {j}{ends.get(j, '')}", f"#{bytes(colour).hex()}", n, n / whole)
        for j, (colour, n) in enumerate(zip(colours, counts, strict=True))
    ]


def data_uri(pixels: np.ndarray) -> str:
    """Gives an image [h,w,3] uint8, reduced where it is large, as the JPEG of an `<img>`."""
    image = pyvips.Image.new_from_array(pixels)
    reduced = image.thumbnail_image(_LONGEST_SIDE, height=_LONGEST_SIDE, size="down")
    jpeg = reduced.jpegsave_buffer(Q=_QUALITY, subsample_mode="off")
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
