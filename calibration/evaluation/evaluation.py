"""Quality and cost of a bundle on images whose high-resolution original is known."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pcsr.errors import ImageError, UsageError
from pcsr.images import find_images, read
from pcsr.metrics import Pixels, bicubic_resize, check_scale, degrade, psnr, ssim
from pcsr.runtime.layout import Layout, as_rgb8
from pcsr.runtime.routing.request import RoutingRequest
from pcsr.runtime.upscaler import Result, Upscaler

from .report import Report, Score


@dataclass(frozen=True)
class Options:
    """What to evaluate. The modes of `k`, `adaptive` and `heavy_ratio` add up; without any, k = 0.

    k: cost weights, one mode each. adaptive: adds ADM. heavy_ratio: shares of heavy pixels in
    [0, 1], one mode each. refine: smooth light pixels beside heavy ones. scale: None for the
    trained one. border: pixels left out on each side, None for ceil(scale). lr: file or folder of
    the LR images, None to make them. plain: bundle of the plain network to compare with. device,
    backend, precision: as of `Upscaler`; the plain network runs with the same.
    max_pixels: height x width that a file may have. recursive: look into sub-folders of `lr`.
    """

    k: tuple[float, ...] = ()
    adaptive: bool = False
    heavy_ratio: tuple[float, ...] = ()
    refine: bool = True
    scale: float | None = None
    border: int | None = None
    lr: Path | None = None
    plain: Path | None = None
    device: str = "cpu"
    backend: str = "auto"
    precision: str = "fp32"
    max_pixels: int = 2**27
    recursive: bool = False

    @property
    def modes(self) -> tuple[RoutingRequest, ...]:
        """The asked-for modes without repeats; empty where none was asked for."""
        return RoutingRequest.each(self.k, self.adaptive, self.heavy_ratio)


def evaluate(bundle: Path, images: Iterable[Path], options: Options) -> Report:
    """Upscales the LR image of each HR image by every method and compares the results.

    Methods are bicubic interpolation, the plain network where given, and the bundle in each mode.
    All comparisons are of 8-bit RGB: grey is repeated, alpha left out, deeper samples are rounded.
    Times are of single calls after a warm-up on the first image; `pcsr-profile` measures properly.

    Args:
        images: HR files. One that cannot be read, paired or compared is a line in `failures`.

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
            pair = evaluator.pair(path)
            bicubic = evaluator.score_bicubic(path, pair)
        except (ImageError, UsageError) as error:
            failures.append(_naming(path, error))
            continue
        if not scores:
            evaluator.warm_up(pair.lr)
        scores += [bicubic, *evaluator.score_methods(path, pair)]
        notes += pair.notes
    found = (tuple(scores), tuple(failures), tuple(notes))
    return Report(str(bundle), evaluator.scale, evaluator.border, *found)


@dataclass(frozen=True)
class _Method:
    """One network in one mode."""

    name: str
    upscaler: Upscaler
    mode: RoutingRequest

    def run(self, lr: Pixels, scale: float, refine: bool) -> Result:
        return self.upscaler.run(lr, scale, replace(self.mode, refine=refine))


@dataclass(frozen=True)
class _Pair:
    """A test pair of RGB uint8 images, [H,W,3] and [h,w,3] with H = round(h * scale)."""

    hr: Pixels
    lr: Pixels
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Evaluator:
    """What is the same for all images. lr_files: given LR files by stem, None to make the LR."""

    methods: tuple[_Method, ...]
    scale: float
    border: int
    refine: bool
    max_pixels: int
    lr_files: Mapping[str, Sequence[Path]] | None

    @classmethod
    def load(cls, bundle: Path, options: Options) -> "_Evaluator":
        if options.border is not None and options.border < 0:
            raise UsageError(f"expected a border of at least 0 px, found {options.border}")
        network = Upscaler(bundle, options.device, options.backend, options.precision)
        scale = network.bundle.manifest.trained_scale if options.scale is None else options.scale
        check_scale(scale)
        border = math.ceil(scale) if options.border is None else options.border
        methods, lr_files = _methods(network, options), _lr_files(options)
        return cls(methods, scale, border, options.refine, options.max_pixels, lr_files)

    def pair(self, path: Path) -> _Pair:
        hr, notes = read_rgb8(path, self.max_pixels)
        if self.lr_files is None:
            return _Pair(*degrade(hr, self.scale), notes)
        lr_path = _partner(path, self.scale, self.lr_files)
        lr, lr_notes = read_rgb8(lr_path, self.max_pixels)
        height, width = (round(side * self.scale) for side in lr.shape[:2])
        if hr.shape[:2] != (height, width):
            raise ImageError(
                f"{path} does not fit {lr_path}: expected {height}x{width} pixels at scale "
                f"{self.scale:g}, found {hr.shape[0]}x{hr.shape[1]}; check --scale"
            )
        return _Pair(hr, lr, notes + lr_notes)

    def warm_up(self, lr: Pixels) -> None:
        for method in self.methods:
            method.run(lr, self.scale, self.refine)

    def score_bicubic(self, path: Path, pair: _Pair) -> Score:
        image = bicubic_resize(pair.lr, *pair.hr.shape[:2])
        return Score(str(path), "bicubic", *self._quality(image, pair.hr))

    def score_methods(self, path: Path, pair: _Pair) -> list[Score]:
        return [self._score(method, path, pair) for method in self.methods]

    def _score(self, method: _Method, path: Path, pair: _Pair) -> Score:
        result = method.run(pair.lr, self.scale, self.refine)
        costs, stats = method.upscaler.bundle.manifest.costs, result.stats
        work = (stats.lr_size, stats.hr_size, stats.pixels_per_upsampler)
        return Score(
            str(path),
            method.name,
            *self._quality(result.image, pair.hr),
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


def _methods(network: Upscaler, options: Options) -> tuple[_Method, ...]:
    modes = options.modes or (RoutingRequest(),)
    if network.bundle.kind == "plain":
        if options.plain is not None:
            raise UsageError(f"{network.bundle.path} is a plain network itself; leave out --plain")
        return tuple(_Method("plain", network, mode) for mode in modes)
    methods = tuple(_Method(_label(mode), network, mode) for mode in modes)
    if options.plain is None:
        return methods
    plain = Upscaler(options.plain, options.device, options.backend, options.precision)
    if plain.bundle.kind != "plain":
        raise UsageError(f"--plain expects the bundle of a plain network, {options.plain} is not")
    return (_Method("plain", plain, RoutingRequest()), *methods)


def _label(mode: RoutingRequest) -> str:
    if mode.adaptive:
        return "adaptive"
    return (
        f"k={mode.cost_weight:.12g}"
        if mode.heavy_ratio is None
        else f"heavy={mode.heavy_ratio:.12g}"
    )


def _lr_files(options: Options) -> dict[str, list[Path]] | None:
    if options.lr is None:
        return None
    by_stem = defaultdict(list)
    for path in find_images([options.lr], options.recursive):
        by_stem[path.stem].append(path)
    return dict(by_stem)


def _partner(hr: Path, scale: float, lr_files: Mapping[str, Sequence[Path]]) -> Path:
    stems = (f"{hr.stem}x{scale:g}", hr.stem)
    for stem in stems:
        match lr_files.get(stem, ()):
            case [path]:
                return path
            case [path, other, *_]:
                raise ImageError(f"two LR images for {hr}: {path} and {other}; keep one")
    raise ImageError(f"no LR image for {hr}: expected a file named {stems[0]} or {stems[1]}")


def read_rgb8(path: Path, max_pixels: int) -> tuple[Pixels, tuple[str, ...]]:
    """RGB uint8 [h,w,3], and a note where alpha was left out."""
    pixels = read(path, max_pixels).pixels
    layout = Layout.of(pixels)
    notes = (f"{path}: compared without its alpha channel",) if layout.has_alpha else ()
    return as_rgb8(pixels), notes


def _naming(path: Path, error: Exception) -> str:
    return str(error) if str(path) in str(error) else f"cannot evaluate {path}: {error}"
