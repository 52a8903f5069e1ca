"""Counts the multiply-adds of classifier and upsamplers."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from pcsr.models.liif import UpsamplerSpec

WINDOW = 9  # pixels that an unfolding upsampler reads
OFFSET, CELL = 2, 2  # inputs


@dataclass(frozen=True)
class MlpWork:
    """The multiply-adds of an MLP that runs for every output pixel."""

    input_macs: float
    """Per input pixel: the part of the first layer that reads features, once it is folded."""
    output_macs: float
    """Per output pixel: all that remains."""
    published_macs: float | None = None
    """Per output pixel, as its authors compute it: nothing folded. None where it is not known."""

    def per_input_px(self, scale: float, share: float = 1.0) -> float:
        """Counts per input pixel, run for a share of the output pixels."""
        return self.input_macs + share * scale**2 * self.output_macs

    def published_per_input_px(self, scale: float) -> float | None:
        """Counts likewise as its authors compute it, for all output pixels."""
        return None if self.published_macs is None else scale**2 * self.published_macs


Parts = Mapping[str, MlpWork]
"""The MLPs by role: `classifier`, `upsampler_0`, … from heavy to light."""


def mlp_work(spec: UpsamplerSpec, feature_width: int, outputs: int, folded_outputs: int) -> MlpWork:
    """Counts an MLP. folded_outputs: those that are left of its outputs (M = 2: a classifier has
    one).
    """
    read = feature_width * (WINDOW if spec.unfold else 1)
    inputs = read + OFFSET + (CELL if spec.cell else 0)
    folded, published = (_layers((*spec.widths, n)) for n in (folded_outputs, outputs))
    first = (*spec.widths, folded_outputs)[0]
    first_published = (*spec.widths, outputs)[0]
    return MlpWork(
        input_macs=read * first,
        output_macs=spec.neighbours * (OFFSET * first + folded),
        published_macs=spec.neighbours * (inputs * first_published + published),
    )


def _layers(widths: tuple[int, ...]) -> int:
    return sum(inputs * outputs for inputs, outputs in pairwise(widths))
