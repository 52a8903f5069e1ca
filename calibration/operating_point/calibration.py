"""Finds operating points of a bundle on a user's images and machine, and writes them into it."""

import hashlib
import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pcsr.amend import commit, new_folder, with_calibration
from pcsr.bundle import Bundle
from pcsr.calibration.images import ImageOptions
from pcsr.calibration.work_file import ShowProgress, WorkFile
from pcsr.errors import ImageError, UsageError
from pcsr.manifest import Manifest
from pcsr.metrics import Pixels, check_scale
from pcsr.runtime.routing.operating_point import CALIBRATION, FORMAT, FORMAT_VERSION, Point
from pcsr.runtime.upscaler import Upscaler

from .clock import LEAST_LARGEST_PX, CallTimes, call_kinds
from .cost_model import Fit, fit
from .sweep import Sweep, sweep

_log = logging.getLogger(__name__)
NAME = "operating-point"
BOUNDS_DB = {"quality": 0.01, "balanced": 0.05, "fast": 0.2}
TILED_IMAGES = 4
MOST_ROUNDS = 1000


@dataclass(frozen=True)
class OperatingPointOptions(ImageOptions):
    """Says how to calibrate."""

    lr_only: bool = False
    """Whether the images are inputs; losses are then estimated."""
    assumed_psnr_db: float = 30.0
    """With `lr_only`, the PSNR that all heavy is assumed to have."""
    bounds_db: Mapping[str, float] = field(default_factory=lambda: dict(BOUNDS_DB))
    """Largest mean loss of each preset."""
    rounds: int = 5
    """Timed calls of each case."""
    largest: tuple[int, int] | None = None
    """(height, width) to time at most; None stands for twice the largest image, at least 720p."""
    device: str = "cpu"
    """Device, backend, precision and threads are those of `Upscaler`."""
    backend: str = "auto"
    precision: str = "fp32"
    threads: int | None = None


@dataclass(frozen=True)
class OperatingPointReport:
    """Says what is in the bundle now."""

    data: Mapping[str, Any]
    points: tuple[Point, ...]
    presets: Mapping[str, Point]
    fits: tuple[Fit, ...]
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
    refine = bundle.manifest.refine if options.refine is None else options.refine
    task = Sweep(upscaler, scale, refine, assumed_db, options.max_pixels)
    if bundle.calibration(CALIBRATION):  # a damaged one is refused at once
        _log.info("the operating point that %s has will be replaced", path)
    usable, samples, failures = _look(task, images, bundle.manifest.model.receptive_radius_px or 0)
    with WorkFile(path, NAME, _work_key(bundle, usable, options, upscaler)) as work:
        points = sweep(task, list(usable), work, show)
        fits = _time(task, samples, options, work, show)
        presets = choose(points, options.bounds_db)
        first = samples[0].shape
        data = _data(task, usable, options, points, presets, fits)
        data["warnings"] = _warnings(task, first[:2], points[0], presets, fits[0])
        data = _write(path, data)
    return OperatingPointReport(
        data, points, presets, fits, scale, first[:2], upscaler, tuple(failures)
    )


def _check(options: OperatingPointOptions) -> None:
    bounds_db = list(options.bounds_db.values())
    if not all(0 <= value < math.inf for value in bounds_db) or sorted(bounds_db) != bounds_db:
        shown = ", ".join(f"{name} {value:g}" for name, value in options.bounds_db.items())
        raise UsageError(f"expected losses in dB from 0 on, none below the one before: {shown}")
    if options.rounds < 2:
        raise UsageError(f"rounds must be at least 2, found {options.rounds}")
    if options.rounds > MOST_ROUNDS:
        raise UsageError(f"rounds must be at most {MOST_ROUNDS}, found {options.rounds}")
    if not 10 <= options.assumed_psnr_db <= 60:
        found = options.assumed_psnr_db
        raise UsageError(f"the assumed PSNR must lie between 10 and 60 dB, found {found:g}")
    if options.largest is not None and min(options.largest) < 1:
        raise UsageError(f"the largest size must be WIDTHxHEIGHT, found {options.largest}")
    if math.prod(options.largest or (0, 0)) > options.max_pixels:
        height, width = options.largest or (0, 0)
        raise UsageError(
            f"the largest size {width}x{height} has more than the {options.max_pixels:,} pixels "
            "that images may have; time smaller inputs"
        )


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
    task: Sweep, images: Sequence[Path], radius_px: int
) -> tuple[dict[Path, str], list[Pixels], list[str]]:
    """Finds usable images and their hashes, the first inputs, and what is wrong with others."""
    usable: dict[Path, str] = {}
    samples: list[Pixels] = []
    failures = []
    for path in images:
        try:
            lr = task.pair(path)[1]
            height, width = lr.shape[:2]
            if min(height, width) <= radius_px:
                raise ImageError(
                    f"{path}: an input of {width}x{height} pixels is smaller than the halo of the "
                    f"network ({radius_px}); use larger images"
                )
            usable[path] = hashlib.sha256(path.read_bytes()).hexdigest()
        except (ImageError, UsageError, OSError) as error:
            failures.append(str(error) if str(path) in str(error) else f"{path}: {error}")
            continue
        if len(samples) < TILED_IMAGES:
            samples.append(lr)
    if not usable:
        raise UsageError("no image that can be used: " + "; ".join(failures or ["none given"]))
    return usable, samples, failures


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
    wanted = call_kinds(task.scale, largest_px, halo_px)
    fits = []
    for arrays in ("host", "device") if on_gpu else ("host",):
        calls = CallTimes(upscaler, images, task.refine, options.device, arrays)
        samples = calls.measure(wanted, options.rounds, work, show)
        pairs = list(zip(wanted, samples, strict=True))
        fitted = [sample for case, sample in pairs if not case.held_out]
        held_out = [sample for case, sample in pairs if case.held_out]
        fits.append(fit(upscaler.time_key(arrays), fitted, held_out))
    return tuple(fits)


def choose(points: Sequence[Point], bounds_db: Mapping[str, float]) -> dict[str, Point]:
    """Takes for each bound on the mean loss against all heavy the lightest point of k within it."""
    by_k = [point for point in points if point.k is not None]
    return {
        name: max(
            (point for point in by_k if point.loss_db <= bound_db), key=lambda point: point.k or 0.0
        )
        for name, bound_db in bounds_db.items()
    }


def _data(
    task: Sweep,
    images: Mapping[Path, str],
    options: OperatingPointOptions,
    points: Sequence[Point],
    presets: Mapping[str, Point],
    fits: Sequence[Fit],
) -> dict[str, Any]:
    """Makes the JSON of this run."""
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
        "times": [fit.to_json() for fit in fits],
    }


def _warnings(
    task: Sweep, lr_size: tuple[int, int], heaviest: Point, presets: Mapping[str, Point], fit: Fit
) -> list[str]:
    """Says which presets save no time on this machine, and so lose quality for nothing."""
    work = task.upscaler.work(lr_size, task.scale)
    heavy_ms = fit.model.usual_ms(work, heaviest.heavy_share)
    times_ms = {name: fit.model.usual_ms(work, one.heavy_share) for name, one in presets.items()}
    return [
        f"on this machine preset '{name}' is slower than all heavy at {lr_size[0]}x{lr_size[1]} "
        f"({time_ms:.1f} ms instead of {heavy_ms:.1f}); use k = -30 (all heavy) here"
        for name, time_ms in times_ms.items()
        if time_ms > heavy_ms
    ]


def _write(path: Path, data: Mapping[str, Any]) -> dict[str, Any]:
    """Writes the quality and times of this run, and the times that others have found; returns it.
    What others add at the same time stays, as the bundle is read when it is this run's turn.
    """
    written = dict(data)
    with new_folder(path, NAME) as folder:

        def change(manifest: Manifest) -> Manifest:
            written["times"] = [*_other_times(path, data), *data["times"]]
            text = json.dumps(written, indent=2, allow_nan=False) + "\n"
            (folder.path / f"{NAME}.json").write_text(text, encoding="utf-8")
            return with_calibration(manifest, CALIBRATION, folder.file(f"{NAME}.json"))

        commit(path, change)
    return written


def _other_times(path: Path, data: Mapping[str, Any]) -> list[Any]:
    """Lists the times in the bundle that are of other machines, threads or options."""
    measured = [entry["key"] for entry in data["times"]]
    before = Bundle.load(path).calibration(CALIBRATION) or {}
    return [entry for entry in before.get("times", []) if entry["key"] not in measured]
