"""A sample in the report: what went in, what came out, and which upsampler made each pixel."""

import base64
from dataclasses import dataclass

import numpy as np
import pyvips

from pcsr.overlay import class_colours, draw_overlay

from .report_html import Html, items, join, swatch, tag
from .report_words import percent, size

_LONGEST_SIDE = 960
_QUALITY = 85


@dataclass(frozen=True, eq=False)
class Sample:
    """One upscaled picture.

    image [h,w] or [h,w,2..4], upscaled [H,W] or [H,W,2..4]: uint8, uint16 or float32 (0..1), alpha
    left out. assignment: [H,W] uint8, 0 = heaviest; None for a plain network. upsamplers: M. name:
    what the pictures are called in the report.
    """

    image: np.ndarray
    upscaled: np.ndarray
    assignment: np.ndarray | None
    upsamplers: int
    name: str = "sample"


def sample_figures(sample: Sample) -> Html:
    """The name, and the pictures as figures with captions.

    Raises:
        ImageError, UsageError: as draw_overlay, where the arrays do not fit each other.
    """
    shown = [_figure("Input", sample.image, sample), _figure("Upscaled", sample.upscaled, sample)]
    if sample.assignment is not None:
        overlay = draw_overlay(sample.upscaled, sample.assignment, sample.upsamplers)
        shown.insert(0, _figure("Routing", overlay, sample, _legend(sample)))
    return join([tag("p", sample.name), tag("div", *shown, class_="plots")])


def _figure(what: str, pixels: np.ndarray, sample: Sample, legend: str = "") -> Html:
    height, width = pixels.shape[:2]
    shape = size((height, width))
    told = f"{what} of {sample.name}, {shape}"
    image = tag("img", src=_data_uri(pixels), alt=told, width=str(width), height=str(height))
    return tag("figure", tag("figcaption", f"{what}, {shape}"), image, legend)


def _legend(sample: Sample) -> Html:
    counts = np.bincount(sample.assignment.ravel(), minlength=sample.upsamplers)  # type: ignore[union-attr]
    shares = counts / counts.sum()
    lines = [
        join([swatch(colour), f" {name}: {percent(share)} of the pixels"])
        for colour, name, share in zip(
            upsampler_colours(sample.upsamplers),
            upsampler_names(sample.upsamplers),
            shares,
            strict=True,
        )
    ]
    return items(lines, "legend")


def upsampler_colours(upsamplers: int) -> list[str]:
    """ "#rrggbb" of each, as in the routing overlay."""
    rounded = np.rint(class_colours(upsamplers)).astype(int).tolist()
    return ["#{:02x}{:02x}{:02x}".format(*colour) for colour in rounded]


def upsampler_names(upsamplers: int) -> list[str]:
    """ "upsampler 0 (heaviest)" and so on."""
    ends = {0: " (heaviest)", upsamplers - 1: " (lightest)"} if upsamplers > 1 else {}
    return [f"upsampler {j}{ends.get(j, '')}" for j in range(upsamplers)]


def _data_uri(pixels: np.ndarray) -> str:
    nothing = np.zeros(pixels.shape[:2], np.uint8)
    image = pyvips.Image.new_from_array(draw_overlay(pixels, nothing, 1, opacity=0))  # 8 bit, RGB
    factor = _LONGEST_SIDE / max(image.width, image.height)
    if factor < 1:
        image = image.resize(factor)
    jpeg = image.jpegsave_buffer(Q=_QUALITY, subsample_mode="off")
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
