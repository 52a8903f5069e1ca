"""Defines what is measured: every bundle on every picture in every mode, each a case."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from pcsr.bundle import Bundle
from pcsr.errors import ImageError, UsageError
from pcsr.runtime.geometry.grid import hr_size, refuse_huge
from pcsr.runtime.routing.checks import check_request
from pcsr.runtime.routing.request import RoutingRequest
from pcsr.text import size_text

from .pictures import InputImage

LARGEST_GROWTH = 16  # output pixels per allowed input pixel
PLAIN = "plain"


@dataclass(frozen=True)
class Setup:
    """A setup is how a bundle is opened, once for many cases: keywords of `Upscaler`."""

    bundle: str
    device: str = "cpu"
    backend: str = "auto"
    precision: str = "fp32"
    passes: str = "auto"
    threads: int | None = None
    may_build: bool = True
    tile_px: int | None = None


@dataclass(frozen=True)
class Choices:
    """Choices are what to measure, all combined. Fields without a word are those of `Upscaler`."""

    bundles: Sequence[Path]
    baseline: Path | None = None
    """A plain bundle that all are compared with."""
    sizes: Sequence[tuple[int, int]] = ()
    """(height, width) of the inputs."""
    images: Sequence[Path] = ()
    """Photos, upscaled as they are; without any, a bundle's own sample is."""
    originals: Sequence[Path] = ()
    """Photos that are reduced first."""
    k: Sequence[float] = ()
    """Modes, as the next four, which add up; without one, k = 0."""
    adaptive: bool = False
    heavy_ratio: Sequence[float] = ()
    preset: Sequence[str] = ()
    budget_ms: Sequence[float] = ()
    refine: bool | None = None
    scale: float | None = None
    device: str = "cpu"
    backends: Sequence[str] = ("auto",)
    precisions: Sequence[str] = ("fp32",)
    passes: str = "auto"
    threads: int | None = None
    tile_px: int | None = None
    max_pixels: int = 2**23
    """Of an input; an output may have 16 times as many."""
    build: bool = True
    """TensorRT engines that are missing."""


@dataclass(frozen=True, eq=False)
class Spec:
    """A spec is a case before it is measured."""

    name: str
    setup: Setup
    mode: str
    scale: float
    picture: InputImage
    request: RoutingRequest = field(default_factory=RoutingRequest)
    baseline: str | None = None
    """Name of the case it is compared with, its own where that is itself."""

    @property
    def options(self) -> dict[str, Any]:
        """Gives the keywords of its calls."""
        return {"scale": self.scale} | asdict(self.request)

    @property
    def is_baseline(self) -> bool:
        """Tells whether others are compared with it."""
        return self.baseline == self.name


def make_specs(
    choices: Choices, bundles: Mapping[Path, Bundle], pictures: Sequence[InputImage]
) -> list[Spec]:
    """Lists all cases, picture by picture, the baseline last. bundles: of the choices, loaded.

    Raises:
        UsageError, ImageError, BundleError: a case that cannot run.
    """
    labels = _labels([*bundles])
    specs: list[Spec] = []
    for picture, *engine in product(pictures, choices.backends, choices.precisions):
        specs += _of_engine(choices, bundles, labels, picture, *engine)
    twins = [name for name, count in Counter(spec.name for spec in specs).items() if count > 1]
    if twins:
        raise UsageError(
            f"two cases would be called '{twins[0]}'; name each size, photo, backend and precision "
            "once, and photos differently"
        )
    return specs


def label(mode: RoutingRequest) -> str:
    """Puts a mode into words."""
    if mode.adaptive:
        return "ADM"
    if mode.preset is not None:
        return mode.preset
    if mode.heavy_ratio is not None:
        return f"{100 * mode.heavy_ratio:g}% heavy"
    return f"k={mode.cost_weight:g}" if mode.budget_ms is None else f"{mode.budget_ms:g} ms"


def _of_engine(
    choices: Choices,
    bundles: Mapping[Path, Bundle],
    labels: Mapping[Path, str],
    picture: InputImage,
    backend: str,
    precision: str,
) -> Iterator[Spec]:
    several = [backend] if len(choices.backends) > 1 else []
    several += [precision] if len(choices.precisions) > 1 else []
    size = size_text(picture.size)
    place = [*([] if picture.is_sample else [picture.name]), size]

    def name(path: Path, mode: str) -> str:
        return ", ".join([labels[path], *several, *([mode] if mode != PLAIN else []), *place])

    rival = None if choices.baseline is None else name(choices.baseline, PLAIN)
    for path, bundle in bundles.items():
        is_baseline = path == choices.baseline
        bundle.graphs(precision)
        engine = (str(path), choices.device, backend, precision)
        setup = Setup(*engine, choices.passes, choices.threads, choices.build, choices.tile_px)
        for mode in _modes(choices, bundle, is_baseline):
            scale = _checked_scale(choices, bundle, mode, picture)
            words = label(mode) if bundle.upsamplers > 1 else PLAIN
            yield Spec(
                name(path, words),
                setup,
                words,
                scale,
                picture,
                mode,
                rival,
            )


def _modes(choices: Choices, bundle: Bundle, is_baseline: bool) -> Sequence[RoutingRequest]:
    default = (RoutingRequest(refine=choices.refine),)
    if is_baseline:
        return default
    added = (choices.preset, choices.budget_ms)
    named = (choices.k, choices.adaptive, choices.heavy_ratio, *added)
    if bundle.upsamplers > 1:
        return RoutingRequest.each(*named[:3], choices.refine, *added)
    if any(named):
        raise UsageError(
            f"{bundle.path} has nothing to route: leave out --k, --adaptive, --heavy-ratio, "
            "--preset and --budget-ms, or name it with --baseline"
        )
    return default


def refuse_large(size: tuple[int, int], max_pixels: int) -> None:
    """Raises ImageError for an input of more pixels."""
    if size[0] * size[1] > max_pixels:
        raise ImageError(
            f"an input of {size_text(size)} has more than --max-pixels ({max_pixels}); choose a "
            "smaller --size or picture, or raise it"
        )


def _checked_scale(
    choices: Choices, bundle: Bundle, mode: RoutingRequest, picture: InputImage
) -> float:
    scale = bundle.manifest.trained_scale if choices.scale is None else choices.scale
    if not 1 <= scale <= 1000:
        raise UsageError(f"scale must be a number from 1 to 1000, found {scale:g}")
    check_request(bundle, scale, mode)
    refuse_huge(picture.size, scale)
    refuse_large(picture.size, choices.max_pixels)
    height, width = hr_size(picture.size, scale)
    if height * width > LARGEST_GROWTH * choices.max_pixels:
        raise ImageError(
            f"an output of {size_text((height, width))} has more than {LARGEST_GROWTH} times "
            f"--max-pixels ({choices.max_pixels}); choose a smaller --size or --scale, or raise it"
        )
    if picture.original is not None and picture.original.shape[:2] != (height, width):
        raise UsageError(
            f"{bundle.path} upscales by {scale:g}, the originals were reduced for another scale; "
            "name --scale, or profile bundles of one scale at a time"
        )
    return scale


def _labels(paths: Sequence[Path]) -> dict[Path, str]:
    """Names bundles by their folders, with as many of those around them as tell them apart."""
    whole = {path: path.resolve().parts[1:] for path in paths}
    labels = {path: str(path) for path in paths}
    for count in range(max(map(len, whole.values())), 0, -1):
        ends = {path: "/".join(parts[-count:]) for path, parts in whole.items()}
        times = Counter(ends.values())
        labels |= {path: end for path, end in ends.items() if times[end] == 1}
    return labels
