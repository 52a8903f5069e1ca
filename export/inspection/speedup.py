"""Estimates, by count of multiply-adds, what a network gains as PCSR.

A network as PCSR keeps its backbone and computes every output pixel by one of two upsamplers, which
a classifier chooses. What it takes then, per input pixel at scale s:

    backbone + first layers + s^2 * (classifier + 0.2 * heavy + 0.8 * light)

Its own upsamplers count where it has some, else typical ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from pcsr.errors import CheckpointError
from pcsr.models.liif import UpsamplerSpec
from pcsr.models.registry import find_registration

from .mlps import MlpWork, Parts, mlp_work
from .subject import Subject

HEAVY_RATIO = 0.2
WORTHWHILE = 1.1
SMALL_TAIL = 0.2
UPSCALES_NOT = "it does not upscale"
ALL_ABOVE = "all its layers work above the image's resolution, and a backbone works at it"
PLAIN = "Use its plain bundle (pcsr-export)."
TRAIN = "pcsr-train makes a PCSR of it."
REGISTER = "To train it as PCSR, register its backbone first (pcsr.models.register_backbone)."
PLAIN_WIDTH = 64
"""The features that the first layers of typical upsamplers read behind a plain network."""


@dataclass(frozen=True)
class Typical:
    """Upsamplers that a network might get as PCSR."""

    origin: str
    heavy: UpsamplerSpec
    light: UpsamplerSpec
    classifier: UpsamplerSpec

    def parts(self, feature_width: int) -> dict[str, MlpWork]:
        """Counts them behind features of this width."""
        return {
            "classifier": mlp_work(self.classifier, feature_width, 2, 1),
            "upsampler_0": mlp_work(self.heavy, feature_width, 3, 3),
            "upsampler_1": mlp_work(self.light, feature_width, 3, 3),
        }


def _published(name: str, heavy: int, light: int, *classifier: int) -> Typical:
    specs = (UpsamplerSpec(widths) for widths in ((heavy,) * 4, (light,) * 3, classifier))
    return Typical(f"those of the published {name}", *specs)


SRRESNET = _published("SRResNet-PCSR", 170, 40, 20, 20)
CARN = _published("CARN-PCSR", 74, 20, 10, 10)
TYPICAL: Mapping[str, Typical] = {
    "carn": CARN,
    "imdn": CARN,
    "fsrcnn": _published("FSRCNN-PCSR", 58, 10),
}
"""Where the paper or our own training has upsamplers for a backbone; SRRESNET for all others."""
LIIF = Typical(
    "those of training/configs/liif-pcsr.yaml",
    heavy=UpsamplerSpec((190,) * 3),
    light=UpsamplerSpec((78,) * 2),
    classifier=UpsamplerSpec((16,)),
)
NECK_BLOCKS, NECK_WIDTH = 2, 128
"""The residual blocks of that config's neck, and the features that it gives."""


@dataclass(frozen=True)
class Speedup:
    """What a network gains. All figures are ratios of multiply-adds and no times."""

    heavy_ratio: float
    as_pcsr: float | None
    """The work of the network over that as PCSR; of PCSR: all pixels by its heavy upsampler. None
    where it cannot become one."""
    exact_bundle: float | None
    """Of a LIIF checkpoint: the work as its authors compute it over that of its exact bundle."""
    upsamplers: str
    """Whose upsamplers count."""
    advice: str
    """What to do with the network."""


def estimate_speedup(subject: Subject, scale: float) -> Speedup:
    """Estimates what a network gains as PCSR with 20 % heavy pixels."""
    if subject.is_plain:
        return _of_plain(subject)
    return (_of_liif if subject.kind == "liif" else _of_pcsr)(subject, scale)


def routed_macs(backbone_macs: float, parts: Parts, scale: float) -> float:
    """Counts the work per input pixel with a heavy share of HEAVY_RATIO, by the heaviest and the
    lightest upsampler.
    """
    first, last = "upsampler_0", f"upsampler_{sum(r.startswith('upsampler') for r in parts) - 1}"
    shares = {"classifier": 1.0, first: HEAVY_RATIO, last: 1 - HEAVY_RATIO}
    own = (part.per_input_px(scale, shares.get(role, 0.0)) for role, part in parts.items())
    return backbone_macs + sum(own)


def _of_plain(subject: Subject) -> Speedup:
    work, scale = subject.image_work, subject.trained_scale
    typical = TYPICAL.get(subject.architecture, SRRESNET)
    if scale == 1 or not work.backbone_macs:
        advice = f"It cannot become PCSR: {UPSCALES_NOT if scale == 1 else ALL_ABOVE}. {PLAIN}"
        return Speedup(HEAVY_RATIO, None, None, typical.origin, advice)
    gain = work.total_macs / routed_macs(work.backbone_macs, typical.parts(PLAIN_WIDTH), scale)
    if gain >= WORTHWHILE:
        how = TRAIN if _is_registered(subject.architecture) else REGISTER
        advice = f"PCSR gains here. {how}"
    elif work.tail_share < SMALL_TAIL:
        share = "all" if not work.tail_macs else f"{1 - work.tail_share:.0%}"
        advice = (
            f"PCSR has nothing to gain: {share} of the work is in the backbone, which PCSR leaves "
            f"as it is. {PLAIN}"
        )
    else:
        advice = (
            "PCSR has nothing to gain: its upsamplers would take about as much work as the tail. "
            f"{PLAIN}"
        )
    return Speedup(HEAVY_RATIO, gain, None, typical.origin, advice)


def _is_registered(architecture: str) -> bool:
    try:
        find_registration(architecture)
    except CheckpointError:
        return False
    return True


def _of_liif(subject: Subject, scale: float) -> Speedup:
    backbone, own = subject.image_work.backbone_macs, subject.mlps["upsampler_0"]
    width = subject.feature_width
    neck = 9 * width * (2 * width * NECK_BLOCKS + NECK_WIDTH)  # 3x3 convolutions
    folded, published = backbone + own.per_input_px(scale), own.published_per_input_px(scale)
    itself = folded if published is None else backbone + published
    exact = None if published is None else itself / folded
    advice = "The exact bundle gives the same image, and any scale."
    if exact is not None:
        advice += " Make it with pcsr-export."
    gain = itself / routed_macs(backbone + neck, LIIF.parts(NECK_WIDTH), scale)
    return Speedup(HEAVY_RATIO, gain, exact, LIIF.origin, f"{advice} {TRAIN}")


def _of_pcsr(subject: Subject, scale: float) -> Speedup:
    backbone, parts, origin = subject.image_work.backbone_macs, subject.mlps, "its own"
    own = parts["upsampler_0"]
    if is_single := len(subject.upsamplers) == 1:
        typical = TYPICAL.get(subject.architecture, SRRESNET)
        parts = {**typical.parts(subject.feature_width), "upsampler_0": own}
        origin = f"its own heavy one, the others as {typical.origin}"
    gain = (backbone + own.per_input_px(scale)) / routed_macs(backbone, parts, scale)
    if gain < WORTHWHILE:
        advice = "Routing gains next to nothing: nearly all work is in the backbone."
    elif is_single:
        advice = f"It has one upsampler and nothing to route. {TRAIN}"
    else:
        advice = "Route with --heavy-ratio 0.2, or let pcsr-calibrate find what your images allow."
    return Speedup(HEAVY_RATIO, gain, None, origin, advice)
