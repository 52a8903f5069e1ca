"""Measures quality and cost of a bundle on images whose high-resolution original is known."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pcsr.bundle import Bundle
from pcsr.calibration.images import ImageOptions, read_rgb8
from pcsr.errors import ImageError, UsageError
from pcsr.images import find_images
from pcsr.metrics import Pixels, bicubic_resize, check_scale, degrade, psnr, ssim
from pcsr.runtime.profiler.measuring.statistics import grouped
from pcsr.runtime.routing.request import RoutingRequest
from pcsr.runtime.upscaler import Result, Upscaler
from pcsr.text import size_text

from .report import EvaluationReport, Score


@dataclass(frozen=True)
class EvaluationOptions(ImageOptions):
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
    border: int | None = None
    """Pixels left out on each side; None stands for ceil(scale)."""
    lr: Path | None = None
    """File or folder of the LR images; None to make them."""
    plain: Path | None = None
    """Bundle of the plain network to compare with."""
    device: str = "cpu"
    """Device, backend and precision are those of `Upscaler`; the plain network has the same."""
    backend: str = "auto"
    precision: str = "fp32"
    threads: int | None = None
    tile_px: int | None = None
    recursive: bool = False
    """Whether sub-folders of `lr` are looked into."""

    @property
    def requests(self) -> tuple[RoutingRequest, ...]:
        """Lists the asked-for ways to route without repeats."""
        return RoutingRequest.each(
            self.k, self.adaptive, self.heavy_ratio, self.refine, self.preset, self.budget_ms
        )

    def open(self, bundle: Path) -> Upscaler:
        """Opens a bundle with these options. One ONNX file, which knows no costs, is none."""
        Bundle.load(bundle)
        where = (self.device, self.backend, self.precision)
        return Upscaler(bundle, *where, self.threads, self.tile_px)


def evaluate(bundle: Path, images: Iterable[Path], options: EvaluationOptions) -> EvaluationReport:
    """Upscales the LR image of each HR image by every method and compares the results.

    Methods are bicubic interpolation, the plain network where given, and the bundle in each mode.
    All comparisons are of 8-bit RGB: grey is repeated, alpha left out, deeper samples are rounded.
    Times are of single calls after a warm-up on the first image; `pcsr-profile` measures properly.

    Args:
        images: HR files. One that cannot be read, paired or compared, or that a budget is too
            small for, is a line in `failures`.

    Raises:
        UsageError: an option out of range or unfit for the bundles, or no LR files.
        BundleError, BackendError: a network cannot be loaded.
    """
    evaluator = _Evaluator.load(bundle, options)
    scores: list[Score] = []
    failures: list[str] = []
    notes: list[str] = []
    for path in images:
        try:
            found, more = evaluator.scores(path, warm_up=not scores)
        except (ImageError, UsageError) as error:
            failures.append(_naming(path, error))
            continue
        scores += found
        notes += more
    lists = (tuple(scores), tuple(failures), tuple(notes))
    return EvaluationReport(str(bundle), evaluator.scale, evaluator.border, *lists)


@dataclass(frozen=True)
class _Method:
    """Runs one network with one request."""

    name: str
    upscaler: Upscaler
    request: RoutingRequest

    def run(self, lr: Pixels, scale: float) -> Result:
        return self.upscaler.run(lr, scale, self.request)


@dataclass(frozen=True)
class _Evaluator:
    """Holds what is the same for all images."""

    methods: tuple[_Method, ...]
    scale: float
    border: int
    max_pixels: int
    lr_files: Mapping[str, Sequence[Path]] | None
    """The given LR files by stem; None to make the LR images."""

    @classmethod
    def load(cls, bundle: Path, options: EvaluationOptions) -> "_Evaluator":
        if options.border is not None and options.border < 0:
            raise UsageError(f"expected a border of at least 0 px, found {options.border}")
        network = options.open(bundle)
        scale = network.bundle.manifest.trained_scale if options.scale is None else options.scale
        check_scale(scale)
        border = math.ceil(scale) if options.border is None else options.border
        methods, lr_files = _methods(network, options), _lr_files(options)
        for method in methods:  # what no image could be upscaled with is no failure of an image
            method.upscaler.completed(scale, method.request)
        return cls(methods, scale, border, options.max_pixels, lr_files)

    def scores(self, path: Path, warm_up: bool) -> tuple[list[Score], tuple[str, ...]]:
        """Scores an image by every method, and gives the notes about it.

        Raises:
            ImageError, UsageError: it cannot be read, paired or compared, or a budget is too small.
        """
        hr, lr, notes = self.pair(path)
        bicubic = self.score_bicubic(path, hr, lr)
        if warm_up:
            for method in self.methods:
                method.run(lr, self.scale)
        return [bicubic, *(self.score(method, path, hr, lr) for method in self.methods)], notes

    def pair(self, path: Path) -> tuple[Pixels, Pixels, tuple[str, ...]]:
        """Reads RGB uint8 images [H,W,3] and [h,w,3] with H = round(h * scale), and notes."""
        hr, notes = read_rgb8(path, self.max_pixels)
        if self.lr_files is None:
            return (*degrade(hr, self.scale), notes)
        lr_path = _partner(path, self.scale, self.lr_files)
        lr, lr_notes = read_rgb8(lr_path, self.max_pixels)
        height, width = (round(side * self.scale) for side in lr.shape[:2])
        if hr.shape[:2] != (height, width):
            raise ImageError(
                f"{path} does not fit {lr_path}: expected {size_text((height, width))} pixels at "
                f"scale {self.scale:g}, found {size_text(hr.shape[:2])}; check --scale"
            )
        return hr, lr, notes + lr_notes

    def score_bicubic(self, path: Path, hr: Pixels, lr: Pixels) -> Score:
        image = bicubic_resize(lr, *hr.shape[:2])
        return Score(str(path), "bicubic", *self._quality(image, hr))

    def score(self, method: _Method, path: Path, hr: Pixels, lr: Pixels) -> Score:
        result = method.run(lr, self.scale)
        costs, stats = method.upscaler.bundle.manifest.costs, result.stats
        work = (stats.lr_size, stats.hr_size, stats.pixels_per_upsampler)
        return Score(
            str(path),
            method.name,
            *self._quality(result.image, hr),
            heavy_percent=100 * stats.heavy_share if stats.pixels_per_upsampler else None,
            paper_gflops=costs.paper_flops(*work) / 1e9,
            gmacs=costs.macs(*work) / 1e9,
            time_ms=stats.total_ms,
        )

    def _quality(self, image: Pixels, hr: Pixels) -> tuple[float, float, float, float]:
        return (
            psnr(image, hr, self.border, "rgb"),
            psnr(image, hr, self.border, "y"),
            ssim(image, hr, self.border, "rgb"),
            ssim(image, hr, self.border, "y"),
        )


def _methods(network: Upscaler, options: EvaluationOptions) -> tuple[_Method, ...]:
    requests = options.requests
    if network.bundle.kind == "plain":
        if options.plain is not None:
            raise UsageError(f"{network.bundle.path} is a plain network itself; leave out --plain")
        return tuple(_Method("plain", network, request) for request in requests)
    methods = tuple(_Method(request.label, network, request) for request in requests)
    if options.plain is None:
        return methods
    plain = options.open(options.plain)
    if plain.bundle.kind != "plain":
        raise UsageError(f"--plain expects the bundle of a plain network, {options.plain} is not")
    return (_Method("plain", plain, RoutingRequest()), *methods)


def _lr_files(options: EvaluationOptions) -> dict[str, list[Path]] | None:
    if options.lr is None:
        return None
    return grouped(find_images([options.lr], options.recursive), lambda path: path.stem)


def _partner(hr: Path, scale: float, lr_files: Mapping[str, Sequence[Path]]) -> Path:
    stems = (f"{hr.stem}x{scale:g}", hr.stem)
    for stem in stems:
        match lr_files.get(stem, ()):
            case [path]:
                return path
            case [path, other, *_]:
                raise ImageError(f"two LR images for {hr}: {path} and {other}; keep one")
    raise ImageError(f"no LR image for {hr}: expected a file named {stems[0]} or {stems[1]}")


def _naming(path: Path, error: Exception) -> str:
    return str(error) if str(path) in str(error) else f"cannot evaluate {path}: {error}"
