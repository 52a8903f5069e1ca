"""Finds operating points of a bundle on a user's images and machine, and writes them into it."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pcsr.amend import commit, new_folder, with_calibration
from pcsr.bundle import Bundle
from pcsr.calibration.work_file import ShowProgress, WorkFile
from pcsr.errors import ImageError, UsageError
from pcsr.metrics import Pixels, check_scale
from pcsr.runtime.routing.operating_point import CALIBRATION, FORMAT, FORMAT_VERSION, Point
from pcsr.runtime.upscaler import Upscaler

from .clock import LEAST_LARGEST_PX, Clock, cases
from .cost_model import Fit, fit
from .presets import BOUNDS_DB, check_bounds, choose
from .sweep import Sweep, sweep

NAME = "operating-point"
TILED_IMAGES = 4


@dataclass(frozen=True)
class OperatingPointOptions:
    """Says how to calibrate."""

    scale: float | None = None
    """None stands for the trained one."""
    refine: bool = True
    lr_only: bool = False
    """Whether the images are inputs; losses are then estimated."""
    assumed_psnr_db: float = 30.0
    """With `lr_only`, the PSNR that all heavy is assumed to have."""
    bounds_db: Mapping[str, float] = field(default_factory=lambda: dict(BOUNDS_DB))
    """Largest mean loss of each preset."""
    rounds: int = 5
    """Timed calls of each case."""
    largest: tuple[int, int] | None = None
    """(height, width) of the largest input to time; None stands for twice the largest image, at
    least 720p.
    """
    device: str = "cpu"
    """Device, backend, precision and threads are those of `Upscaler`."""
    backend: str = "auto"
    precision: str = "fp32"
    threads: int | None = None
    max_pixels: int = 2**27
    """Height x width that a file may have."""


@dataclass(frozen=True)
class OperatingPointReport:
    """Says what is in the bundle now."""

    data: Mapping[str, Any]
    """Its JSON."""
    points: tuple[Point, ...]
    presets: Mapping[str, Point]
    fits: tuple[Fit, ...]
    """The models of the time on this machine."""
    scale: float
    lr_size: tuple[int, int]
    """(height, width) of the first image."""
    upscaler: Upscaler
    failures: tuple[str, ...]
    """A line per image that could not be used."""


def calibrate(
    path: Path, images: Sequence[Path], options: OperatingPointOptions, show: ShowProgress
) -> OperatingPointReport:
    """Sweeps k and heavy_ratio, times calls, fits, and writes the result into the bundle. What an
    interrupted run of the same options found is taken over.

    Raises:
        UsageError: an option out of range, a bundle without routing, or no image that can be used.
        BundleError, BackendError: the bundle is damaged or cannot be run.
        OutputError: the bundle or its folder is not writable.
    """
    _check(options)
    upscaler = _open(path, options)
    bundle = upscaler.bundle
    scale = bundle.manifest.trained_scale if options.scale is None else options.scale
    check_scale(scale)
    assumed_db = options.assumed_psnr_db if options.lr_only else None
    task = Sweep(upscaler, scale, options.refine, assumed_db, options.max_pixels)
    before = bundle.calibration(CALIBRATION) or {}
    usable, samples, failures = _look(task, images, bundle.manifest.model.receptive_radius_px)
    with WorkFile(path, NAME, _work_key(bundle, usable, options, upscaler)) as work:
        points = sweep(task, list(usable), work, show)
        fits = _time(task, samples, options, work, show)
        presets = choose(points, options.bounds_db)
        data = _data(task, usable, options, points, presets, fits, before)
        _write(path, data)
    first = samples[0].shape
    return OperatingPointReport(
        data, points, presets, fits, scale, first[:2], upscaler, tuple(failures)
    )


def _check(options: OperatingPointOptions) -> None:
    check_bounds(options.bounds_db)
    if options.rounds < 2:
        raise UsageError(f"rounds must be at least 2, found {options.rounds}")
    if not 10 <= options.assumed_psnr_db <= 60:
        found = options.assumed_psnr_db
        raise UsageError(f"the assumed PSNR must lie between 10 and 60 dB, found {found:g}")
    if options.largest is not None and min(options.largest) < 1:
        raise UsageError(f"the largest size must be HEIGHTxWIDTH, found {options.largest}")


def _open(path: Path, options: OperatingPointOptions) -> Upscaler:
    """Opens the bundle, all of its files checked."""
    bundle = Bundle.load(path)
    if bundle.upsamplers < 2:
        kind = "is a plain network" if bundle.kind == "plain" else "has one upsampler"
        raise UsageError(f"{path} {kind} and nothing to route; calibrate a PCSR bundle with more")
    for role in bundle.graphs(options.precision):
        bundle.graph_bytes(role, options.precision)
    bundle.mlp_bytes()
    where = (options.device, options.backend, options.precision, options.threads)
    return Upscaler(path, *where)


def _look(
    task: Sweep, images: Sequence[Path], radius_px: int | None
) -> tuple[dict[Path, str], list[Pixels], list[str]]:
    """Finds the usable images with their hashes, the inputs of the first ones, and what is wrong
    with the others.
    """
    usable: dict[Path, str] = {}
    samples: list[Pixels] = []
    failures = []
    for path in images:
        try:
            lr = task.pair(path)[1]
            _refuse_small(path, lr, radius_px)
            usable[path] = hashlib.sha256(path.read_bytes()).hexdigest()
        except (ImageError, UsageError, OSError) as error:
            failures.append(str(error) if str(path) in str(error) else f"{path}: {error}")
            continue
        if len(samples) < TILED_IMAGES:
            samples.append(lr)
    if not usable:
        raise UsageError("no image that can be used: " + "; ".join(failures or ["none given"]))
    return usable, samples, failures


def _refuse_small(path: Path, lr: Pixels, radius_px: int | None) -> None:
    height, width = lr.shape[:2]
    if min(height, width) <= (radius_px or 0):
        raise ImageError(
            f"{path}: an input of {height}x{width} pixels is smaller than the halo of the network "
            f"({radius_px}); use larger images"
        )


def _work_key(
    bundle: Bundle, images: Mapping[Path, str], options: OperatingPointOptions, upscaler: Upscaler
) -> dict[str, Any]:
    manifest = json.loads(bundle.manifest.to_json()) | {"calibrations": {}}
    return {
        "manifest": manifest,
        "images": {str(path): digest for path, digest in images.items()},
        "options": asdict(options),
        "machine": asdict(upscaler.time_key()),
    }


def _time(
    task: Sweep,
    images: Sequence[Pixels],
    options: OperatingPointOptions,
    work: WorkFile,
    show: ShowProgress,
) -> tuple[Fit, ...]:
    upscaler = task.upscaler
    on_gpu = upscaler.time_key().device != "cpu"
    halo_px = upscaler.bundle.manifest.model.receptive_radius_px
    most = max(image.shape[0] * image.shape[1] for image in images)
    largest_px = math.prod(options.largest or (0, 0)) or max(2 * most, LEAST_LARGEST_PX)
    wanted = cases(task.scale, largest_px, halo_px)
    fits = []
    for arrays in ("host", "device") if on_gpu else ("host",):
        clock = Clock(upscaler, images, task.refine, options.device, arrays)
        samples = clock.measure(wanted, options.rounds, work, show)
        pairs = list(zip(wanted, samples, strict=True))
        fitted = [sample for case, sample in pairs if not case.held_out]
        held_out = [sample for case, sample in pairs if case.held_out]
        fits.append(fit(upscaler.time_key(arrays), fitted, held_out))
    return tuple(fits)


def _data(
    task: Sweep,
    images: Mapping[Path, str],
    options: OperatingPointOptions,
    points: Sequence[Point],
    presets: Mapping[str, Point],
    fits: Sequence[Fit],
    before: Mapping[str, Any],
) -> dict[str, Any]:
    """Makes the JSON: quality of this run, times of this one and of other machines."""
    measured = {fit.model.key for fit in fits}
    others = [
        entry for entry in before.get("times", []) if entry["key"] not in map(asdict, measured)
    ]
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "scale": task.scale,
        "refine": task.refine,
        "precision": options.precision,
        "assumed_psnr_db": task.assumed_psnr_db,
        "images": [{"name": path.name, "sha256": digest} for path, digest in images.items()],
        "points": [asdict(point) for point in points],
        "presets": {
            name: asdict(point) | {"max_loss_db": options.bounds_db[name]}
            for name, point in presets.items()
        },
        "times": [*others, *(fit.to_json() for fit in fits)],
    }


def _write(path: Path, data: Mapping[str, Any]) -> None:
    with new_folder(path, NAME) as folder:
        text = json.dumps(data, indent=2, allow_nan=False) + "\n"
        (folder.path / f"{NAME}.json").write_text(text, encoding="utf-8")
        file = folder.file(f"{NAME}.json")
        commit(path, lambda manifest: with_calibration(manifest, CALIBRATION, file))
