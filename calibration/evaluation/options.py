"""Says what to evaluate."""

import math
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from pcsr.bundle import Bundle
from pcsr.calibration.images import ImageOptions
from pcsr.errors import UsageError
from pcsr.runtime.routing.request import RoutingRequest
from pcsr.runtime.upscaler import Upscaler

from .protocols import PatchOptions, Protocol, protocols_of

MOST_SWEPT = 1000


@dataclass(frozen=True)
class EvaluationOptions(ImageOptions, PatchOptions):
    """Says what to evaluate: a mode for each `k`, and those that the next four fields add."""

    k: tuple[float, ...] = ()
    """Cost weights, one mode each; none stands for k = 0."""
    adaptive: bool = False
    heavy_ratio: tuple[float, ...] = ()
    """Shares of heavy pixels in [0, 1], one mode each."""
    preset: tuple[str, ...] = ()
    """Names of calibrated presets, one mode each."""
    budget_ms: tuple[float, ...] = ()
    """Calibrated times of an image, one mode each."""
    both_refinements: bool = False
    """Whether each mode is evaluated with and without refinement; `refine` is None then."""
    border: int | None = None
    """Pixels left out on each side; None stands for ceil(scale)."""
    lr: Path | None = None
    """File or folder of the LR images; None to make them."""
    unrounded_lr: bool = False
    """Whether LR images that are made are not rounded to 8 bits, as in `test_pcsr.py` of the
    published code."""
    plain: tuple[Path, ...] = ()
    """Bundles of plain networks to compare with."""
    compare: tuple[Path, ...] = ()
    """Further PCSR bundles, evaluated in the same modes."""
    test_set: str | None = None
    """The test set whose published figures stand beside the measured ones; None: none."""
    device: str = "cpu"
    """Device, backend and precision are those of `Upscaler`; all networks have the same."""
    backend: str = "auto"
    precision: str = "fp32"
    threads: int | None = None
    tile_px: int | None = None
    recursive: bool = False
    """Whether sub-folders of `lr` are looked into."""

    @cached_property
    def requests(self) -> tuple[RoutingRequest, ...]:
        """Lists the asked-for ways to route without repeats.

        Raises:
            UsageError: one is out of range, or `refine` is set beside `both_refinements`.
        """
        if self.both_refinements and self.refine is not None:
            raise UsageError(
                "both refinements are compared; leave out --refine and --no-refine, or "
                "--both-refinements"
            )
        ways = (self.k, self.adaptive, self.heavy_ratio)
        added = (self.preset, self.budget_ms)
        if not self.both_refinements:
            return RoutingRequest.each(*ways, self.refine, *added)
        pairs = zip(*(RoutingRequest.each(*ways, on, *added) for on in (True, False)), strict=True)
        return tuple(request for pair in pairs for request in pair)

    @cached_property
    def protocols(self) -> tuple[Protocol, ...]:
        """Lists how images are cut and upscaled.

        Raises:
            UsageError: as `protocols_of`, or a budget, which is the time of a whole image, beside
                patches.
        """
        protocols = protocols_of(self)
        if self.budget_ms and any(protocol.by_patches for protocol in protocols):
            raise UsageError("a budget is the time of a whole image; leave out it or --patches")
        return protocols

    @property
    def batch(self) -> int | None:
        """How many patches share statistics; None without patches."""
        cut = [protocol.patches for protocol in self.protocols if protocol.by_patches]
        return cut[0].batch if cut and cut[0] else None

    def label(self, request: RoutingRequest) -> str:
        """Names a request in tables: its way, and its refinement where both are compared."""
        if not self.both_refinements:
            return request.label
        return f"{request.label} {'refined' if request.refine else 'unrefined'}"

    def open(self, bundle: Path) -> Upscaler:
        """Opens a bundle with these options. One ONNX file, which knows no costs, is none."""
        Bundle.load(bundle)
        where = (self.device, self.backend, self.precision)
        return Upscaler(bundle, *where, self.threads, self.tile_px)


def swept(text: str) -> tuple[float, ...]:
    """Reads evenly spaced values of k from FIRST:LAST:COUNT, both ends among them.

    Raises:
        UsageError: anything else, fewer than 2 or more than MOST_SWEPT values, or equal ends.
    """
    match = re.fullmatch(r"([^:]+):([^:]+):([0-9]{1,9})", text)
    try:
        first, last = (float(match[1]), float(match[2])) if match else (math.nan, math.nan)
    except ValueError:
        first, last = math.nan, math.nan
    count = int(match[3]) if match else 0
    if not (math.isfinite(first) and math.isfinite(last) and 2 <= count <= MOST_SWEPT):
        raise UsageError(
            f"unknown sweep {text!r}; expected FIRST:LAST:COUNT with 2 to {MOST_SWEPT} values of "
            "k, as 0:2:9"
        )
    if first == last:
        raise UsageError(f"the sweep {text!r} has equal ends; name one value by --k")
    return tuple(float(f"{k:.6g}") for k in np.linspace(first, last, count))
