"""Measures run time and peak memory as the challenge does: after warm-up, the mean of five runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import torch

from pcsr.errors import BackendError
from pcsr.runtime.machine import cpu_name
from pcsr.runtime.profiler.measuring.device import MIB, DeviceMemory, make_clock
from pcsr.runtime.profiler.measuring.first_use import first_use
from pcsr.runtime.profiler.measuring.monitor import Monitor
from pcsr.runtime.profiler.measuring.process import DidNotFinish
from pcsr.runtime.profiler.measuring.rounds import Pace, turns
from pcsr.runtime.profiler.measuring.stability import case_warnings
from pcsr.runtime.profiler.pictures import InputImage
from pcsr.text import one_line

from .contender import Contender, Entry, open_alone, open_contender, torch_settings

RUNS = 5
WARM_UPS = {"cpu": 2, "cuda": 4}  # the runtime replays an image's work on a GPU from its third on


@dataclass(frozen=True)
class ImageTime:
    """Holds what an image took."""

    name: str
    size: tuple[int, int]
    """Height and width of the input."""
    mean_ms: float
    runs_ms: tuple[float, ...]


@dataclass(frozen=True)
class RunTime:
    """Holds what all images took, one at a time."""

    mean_ms: float
    """Of an image, over all images and runs."""
    runs_ms: tuple[float, ...]
    """The mean of all images, by run."""
    clock: str
    """`wall clock`, until a call returns, or `CUDA events` about its work."""
    warm_ups: int
    """Runs of each image before these, which do not count."""
    images: tuple[ImageTime, ...]


@dataclass(frozen=True)
class PeakMemory:
    """Holds the memory that the largest image took; None where nobody says."""

    mib: float | None
    """On the CPU what became resident during the first run of a process, beyond what it held
    before; on a GPU all that PyTorch allocated there, weights included."""
    held_before_mib: float | None
    """What was resident, or allocated, before the run."""


@dataclass(frozen=True)
class Measured:
    """Holds what was measured, and where."""

    by: str
    """What computed the images."""
    device: str
    device_name: str
    threads: int
    """Of the CPU."""
    run_time: RunTime
    peak_memory: PeakMemory
    warnings: tuple[str, ...]
    """What makes the times doubtful."""


def measure(
    entry: Entry, device: torch.device, threads: int, pictures: Sequence[InputImage]
) -> Measured:
    """Measures a plain network on one or more images.

    Raises:
        BackendError: a device or a library is not there, or a process of its own failed.
    """
    on_gpu = device.type == "cuda"
    with torch_settings(device, threads):
        contender = open_contender(entry, device, threads)
        held_mib = torch.cuda.memory_allocated(device) / MIB if on_gpu else 0.0
        monitor, memory = Monitor(), DeviceMemory(device)
        run_time = _run_time(contender, device, pictures)
        warnings = () if on_gpu else tuple(monitor.warnings())
        peak_mib = memory.peak_mib() if contender.in_torch else None
    peak = PeakMemory(None if peak_mib is None else held_mib + peak_mib, held_mib)
    return Measured(
        by=contender.name,
        device=str(device),
        device_name=torch.cuda.get_device_name(device) if on_gpu else cpu_name(),
        threads=threads,
        run_time=run_time,
        peak_memory=peak if on_gpu else peak_on_cpu(entry.path, threads, pictures),
        warnings=(*case_warnings(run_time.runs_ms, 0.0), *warnings),
    )


def _run_time(
    contender: Contender, device: torch.device, pictures: Sequence[InputImage]
) -> RunTime:
    images = tuple(_image_time(contender, device, picture) for picture in pictures)
    runs_ms = tuple(fmean(runs) for runs in zip(*(one.runs_ms for one in images), strict=True))
    clock, warm_ups = make_clock(device).name, WARM_UPS[device.type]
    return RunTime(fmean(runs_ms), runs_ms, clock, warm_ups, images)


def _image_time(contender: Contender, device: torch.device, picture: InputImage) -> ImageTime:
    clock, call = make_clock(device), contender.prepare(picture.pixels)
    laps = [
        (number, clock.lap(call, hold_ms=0.0)[0])
        for _, number in turns([picture], Pace(RUNS, WARM_UPS[device.type]))
    ]
    runs_ms = tuple(lap.device_ms for number, lap in laps if number >= 0)
    return ImageTime(picture.name, picture.size, fmean(runs_ms), runs_ms)


def peak_on_cpu(path: Path, threads: int, pictures: Sequence[InputImage]) -> PeakMemory:
    """Runs the largest image once in a process of its own.

    Raises:
        BackendError: that process failed.
    """
    largest = max(pictures, key=lambda one: one.pixels.size)
    opener, arguments = f"{open_alone.__module__}:{open_alone.__name__}", {"path": str(path)}
    try:
        first = first_use(opener, arguments | {"threads": threads}, largest.pixels, {})
    except DidNotFinish as why:
        raise BackendError(f"the peak memory cannot be measured: {one_line(str(why))}") from why
    before, peak = first.loaded_mib, first.peak_mib
    return PeakMemory(None if before is None or peak is None else peak - before, before)
