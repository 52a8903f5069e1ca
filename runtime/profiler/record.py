"""Defines what a profile says: the contract between measuring and printing, and the form of
`--json`.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .measuring.ceilings import Ceilings
from .measuring.statistics import Distribution

__all__ = ["Case", "Ceilings", "Distribution", "Profile", "Stage"]


@dataclass(frozen=True)
class Stage:
    """A stage is a part of the calls of a case; None where its work is not counted."""

    name: str
    """As in `Stats.stage_ms`."""
    ms: float
    """Mean per call."""
    share: float
    """Of the call's mean."""
    pixels: int | None
    """Output pixels that an upsampler made."""
    gflop_s: float | None
    """Achieved GFLOP/s."""
    gb_s: float | None
    """Achieved GB/s."""
    of_compute: float | None
    """`gflop_s` as a share of the ceiling measured in the same run."""
    of_memory: float | None
    """`gb_s` likewise."""


@dataclass(frozen=True)
class Case:
    """A case is one bundle in one mode at one size. Sizes are (height, width)."""

    name: str
    """Unique in a run."""
    bundle: str
    kind: str
    """`pcsr` or `plain`."""
    device: str
    backend: str
    precision: str
    passes: str
    mode: str
    """How pixels were routed, in words; `plain` where there is nothing to route."""
    lr_size: tuple[int, int]
    hr_size: tuple[int, int]
    scale: float
    host_ms: Distribution
    """Wall time of a call from array to array."""
    device_ms: Distribution | None
    """Time on the device by events; None on the CPU, as are the next three."""
    h2d_ms: Distribution | None
    d2h_ms: Distribution | None
    enqueue_ms: Distribution | None
    """Until the host has queued the work."""
    calls_per_s: float
    """From the mean of the device's time where there is one, else of the wall time; as the next."""
    output_megapixels_per_s: float
    stages: tuple[Stage, ...]
    """In the order of execution."""
    unaccounted_ms: float
    """Mean of the time that no stage holds, of the host or of a GPU. Below 0 where the stages of a
    GPU, timed in calls without a recording, take longer than the recorded frame."""
    pixels_per_upsampler: tuple[int, ...]
    """Output pixels, the heaviest upsampler first."""
    heavy_share: float | None
    """Share of the heavier half of the upsamplers; None for a plain network."""
    open_ms: float
    """Loading the bundle; on the CPU in a process of its own, as the first call."""
    first_ms: float
    switch_ms: float | None
    """Median of the calls right after one with another size; None with one size."""
    peak_mib: float | None
    """The most memory that a process of its own had resident; on a GPU what the first call
    allocated there."""
    over_baseline: float | None
    """Median of time / the baseline's in the same round."""
    is_baseline: bool
    psnr_db: float | None
    """Against the original, where one was given."""
    times_ms: tuple[float, ...]
    """Wall time of each call in its order."""
    warnings: tuple[str, ...]
    """What makes the figures doubtful."""
    picture: str = ""


@dataclass(frozen=True)
class Profile:
    """A profile is a whole run."""

    environment: Mapping[str, Any]
    """Machine, versions, GPU with clocks, power and temperature where nvidia-smi tells."""
    plan: Mapping[str, Any]
    ceilings: Ceilings
    cases: tuple[Case, ...]
    """In the order of the choices, size by size."""
    warnings: tuple[str, ...]
    """Of the run as a whole."""

    def to_json(self) -> str:
        """Writes all fields, with `format` and `format_version`."""
        head = {"format": "pcsr-profile", "format_version": 1}
        return json.dumps(head | asdict(self), indent=2, allow_nan=False) + "\n"
