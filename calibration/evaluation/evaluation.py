"""Measures quality and cost of a bundle on images whose high-resolution original is known."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pcsr.errors import ImageError, UsageError
from pcsr.metrics import Pixels, bicubic_resize, check_scale, psnr, ssim
from pcsr.runtime.layout import as_rgb8
from pcsr.runtime.upscaler import Upscaler

from .methods import Method, described, methods_of, open_networks
from .options import EvaluationOptions
from .pairs import Pairs
from .protocols import Protocol
from .quoted import QuotedRow, quoted_rows, quoted_scale, test_set_named
from .report import EvaluationReport, Network, Score


def evaluate(bundle: Path, images: Iterable[Path], options: EvaluationOptions) -> EvaluationReport:
    """Upscales the LR image of each HR image by every method and compares the results.

    Methods are bicubic interpolation, the plain networks where given, and the bundle in each mode,
    with those that it is compared with; each under every protocol.
    All comparisons are of 8-bit RGB: grey is repeated, alpha left out, deeper samples are rounded.
    Times are of single calls after a warm-up on the first image; `pcsr-profile` measures properly.

    Args:
        images: HR files. One that cannot be read, paired, cut or compared, or that a budget is too
            small for, is a line in `failures`.

    Raises:
        UsageError: an option out of range or unfit for the bundles, or no LR files.
        BundleError, BackendError: a network cannot be loaded.
    """
    evaluator = _Evaluator.load(bundle, options)
    scores: list[Score] = []
    failures: list[str] = []
    notes = evaluator.notes()
    for path in images:
        try:
            found, more = evaluator.scores(path, warm_up=not scores)
        except (ImageError, UsageError) as error:
            failures.append(_naming(path, error))
            continue
        scores += found
        notes += more
    what = (str(bundle), evaluator.scale, evaluator.border)
    lists = (tuple(scores), tuple(failures), (*notes, *_remarks(scores)))
    how = (evaluator.pairs.origin, options.batch)
    return EvaluationReport(*what, *lists, evaluator.described, evaluator.quoted, *how)


def _remarks(scores: Sequence[Score]) -> list[str]:
    """Names the images that a method gives without any error, and says where protocols compare
    different pixels.
    """
    images = dict.fromkeys(score.image for score in scores if math.isinf(score.psnr_rgb_db))
    found = [f"{image} is reproduced exactly, which makes means infinite" for image in images]
    protocols = {score.protocol for score in scores}
    if "image" in protocols and len(protocols) > 1:
        found.append("patches cover less than whole images do; --crop compares the same pixels")
    return found


@dataclass(frozen=True)
class _Evaluator:
    """Holds what is the same for all images."""

    networks: Mapping[str, Upscaler]
    methods: Sequence[Method]
    protocols: Sequence[Protocol]
    scale: float
    border: int
    pairs: Pairs
    test_set: str | None

    @classmethod
    def load(cls, bundle: Path, options: EvaluationOptions) -> "_Evaluator":
        if options.border is not None and options.border < 0:
            raise UsageError(f"expected a border of at least 0 px, found {options.border}")
        protocols = options.protocols
        networks = open_networks(bundle, options)
        trained = networks[_main(networks, options)].bundle.manifest.trained_scale
        scale = trained if options.scale is None else options.scale
        check_scale(scale)
        _check_fit(scale, protocols, options.test_set)
        border = math.ceil(scale) if options.border is None else options.border
        methods, pairs = methods_of(networks, options), Pairs.of(options, scale)
        for method in methods:  # what no image could be upscaled with is no failure of an image
            method.upscaler.completed(scale, method.request)
        how = (scale, border, pairs, options.test_set)
        return cls(networks, methods, protocols, *how)

    @property
    def described(self) -> tuple[Network, ...]:
        return tuple(described(name, upscaler) for name, upscaler in self.networks.items())

    @property
    def quoted(self) -> tuple[QuotedRow, ...]:
        """Lists the published figures for networks of the same backbones."""
        backbones = {network.backbone for network in self.described}
        return () if self.test_set is None else quoted_rows(self.test_set, backbones)

    def notes(self) -> list[str]:
        """Names the networks that were trained for another scale than others, and the backbones
        that nothing can be quoted for.
        """
        found = []
        trained = [network.bundle.manifest.trained_scale for network in self.networks.values()]
        for name, scale in zip(self.networks, trained, strict=True):
            if scale != self.scale and len(set(trained)) > 1:
                at = f"is evaluated at {self.scale:g}"
                found.append(f"{name} was trained for scale {scale:g}, and {at}")
        if self.test_set is not None:
            named = {row.backbone for row in self.quoted}
            backbones = dict.fromkeys(network.backbone for network in self.described)
            found += [
                f"no published figures are stored for {each}"
                for each in backbones
                if each not in named
            ]
        return found

    def scores(self, path: Path, warm_up: bool) -> tuple[list[Score], tuple[str, ...]]:
        """Scores an image by every method under every protocol, and gives the notes about it.

        Raises:
            ImageError, UsageError: it cannot be read, paired, cut or compared, or a budget is too
                small.
        """
        hr, lr, notes = self.pairs.read(path)
        pairs = [(protocol, *protocol.cut(hr, lr, self.scale)) for protocol in self.protocols]
        found = [
            Score(str(path), "bicubic", *self._quality(bicubic, cut), protocol=protocol.name)
            for protocol, cut, small in pairs
            for bicubic in [as_rgb8(bicubic_resize(small, *cut.shape[:2]))]
        ]
        for method in self.methods:
            if warm_up:
                for protocol, _, small in pairs:
                    protocol.warm_up(method.upscaler, small, self.scale, method.request)
            found += [self.score(method, protocol, path, *pair) for protocol, *pair in pairs]
        return found, notes

    def score(
        self, method: Method, protocol: Protocol, path: Path, hr: Pixels, lr: Pixels
    ) -> Score:
        made = protocol.upscale(method.upscaler, lr, self.scale, method.request)
        return Score(
            str(path),
            method.name,
            *self._quality(made.image, hr),
            heavy_percent=made.heavy_percent,
            paper_gflops=made.paper_flops / 1e9,
            gmacs=made.macs / 1e9,
            time_ms=made.total_ms,
            protocol=protocol.name,
            network=method.network,
        )

    def _quality(self, image: Pixels, hr: Pixels) -> tuple[float, float, float, float]:
        return (
            psnr(image, hr, self.border, "rgb"),
            psnr(image, hr, self.border, "y"),
            ssim(image, hr, self.border, "rgb"),
            ssim(image, hr, self.border, "y"),
        )


def _main(networks: Mapping[str, Upscaler], options: EvaluationOptions) -> str:
    """Names the bundle that the command is about: the first that is not given by --plain."""
    return list(networks)[len(options.plain)]


def _check_fit(scale: float, protocols: Sequence[Protocol], test_set: str | None) -> None:
    """Raises UsageError for patches at a broken scale, and published figures of another."""
    if scale != round(scale) and any(protocol.patches for protocol in protocols):
        raise UsageError(f"patches need a whole scale, found {scale:g}; evaluate whole images")
    if test_set is not None and scale != quoted_scale():
        name = test_set_named(test_set)
        raise UsageError(
            f"the published figures for {name} are of scale {quoted_scale():g}, found {scale:g}; "
            "leave out --test-set"
        )


def _naming(path: Path, error: Exception) -> str:
    return str(error) if str(path) in str(error) else f"cannot evaluate {path}: {error}"
