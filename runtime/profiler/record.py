"""What a profile says: the contract between measuring and printing, and the form of `--json`."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

FORMAT = "pcsr-profile"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Distribution:
    """Milliseconds of the measured calls. mean and std (of the sample) over all of them.
    percentiles: by name (`p50`, `p99.9`), those above and what else was asked for.
    """

    p50: float
    p90: float
    p95: float
    p99: float
    mean: float
    std: float
    least: float
    most: float
    samples: int
    percentiles: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Stage:
    """One stage. ms: mean per call; share: of the call's mean. pixels: output pixels that an
    upsampler made. gflop_s, gb_s: achieved, None where the work of a stage is not counted;
    of_compute, of_memory: those as a share of the ceilings measured in the same run.
    """

    name: str
    ms: float
    share: float
    pixels: int | None
    gflop_s: float | None
    gb_s: float | None
    of_compute: float | None
    of_memory: float | None


@dataclass(frozen=True)
class Case:
    """One bundle in one mode at one size.

    Sizes are (height, width). host_ms: wall time of a call; device_ms: by events on the device;
    h2d_ms, d2h_ms, enqueue_ms: as trtexec names them (copy to the device, from the device, until
    the host has queued the work). Those four are None on the CPU. unaccounted_ms: mean of host time
    (device time on a GPU) that no stage holds; below 0 where the stages of a GPU, which are timed
    in calls without a recording, take longer than the recorded frame. open_ms: loading the bundle.
    first_ms: the first call. On the CPU both are those of a process of its own, as is peak_mib:
    the most memory that it had resident. On a GPU peak_mib is what the first call allocated there.
    switch_ms: median of the calls right after one with another size; None with one size.
    over_baseline: median of time / the baseline's in the same round. heavy_share: None for a plain
    network. times_ms: host time of each call in its order. psnr_db: against the original, where
    one was given. picture: what was upscaled.
    """

    name: str
    bundle: str
    kind: str
    device: str
    backend: str
    precision: str
    passes: str
    mode: str
    lr_size: tuple[int, int]
    hr_size: tuple[int, int]
    scale: float
    host_ms: Distribution
    device_ms: Distribution | None
    h2d_ms: Distribution | None
    d2h_ms: Distribution | None
    enqueue_ms: Distribution | None
    calls_per_s: float
    output_megapixels_per_s: float
    stages: tuple[Stage, ...]
    unaccounted_ms: float
    pixels_per_upsampler: tuple[int, ...]
    heavy_share: float | None
    open_ms: float
    first_ms: float
    switch_ms: float | None
    peak_mib: float | None
    over_baseline: float | None
    is_baseline: bool
    psnr_db: float | None
    times_ms: tuple[float, ...]
    warnings: tuple[str, ...]
    picture: str = ""


@dataclass(frozen=True)
class Ceilings:
    """What the machine reached in this run: products of float32 (and of half precision on a GPU)
    matrices, copies in its memory (bytes read plus written).
    """

    gflop_s: float
    gb_s: float
    half_gflop_s: float | None = None


@dataclass(frozen=True)
class Profile:
    """A whole run. environment: machine, versions, GPU with clocks, power and temperature where
    NVML tells. plan: warm-up and length as asked for. warnings: of the run as a whole.
    """

    environment: Mapping[str, Any]
    plan: Mapping[str, Any]
    ceilings: Ceilings
    cases: tuple[Case, ...]
    warnings: tuple[str, ...]

    def to_json(self) -> str:
        """All fields, with `format` and `format_version`."""
        head = {"format": FORMAT, "format_version": FORMAT_VERSION}
        return json.dumps(head | asdict(self), indent=2, allow_nan=False) + "\n"
