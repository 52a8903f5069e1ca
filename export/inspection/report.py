"""The report of pcsr-inspect, as data."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pcsr.errors import UsageError
from pcsr.export.graphs.receptive_field import receptive_field
from pcsr.models.plain import LARGEST_SCALE

from .speedup import Speedup, estimate_speedup
from .subject import Subject, read_subject
from .targets import Host, Precision, find_hosts, find_precisions


@dataclass(frozen=True)
class Work:
    """Multiply-adds per input pixel."""

    backbone_macs: float
    tail_macs: float
    """Of a PCSR network: its upsampler 0 for every pixel. Of a LIIF checkpoint: as its authors
    compute it."""
    tail_share: float
    tail_begins: str | None
    """The operator that a plain network's tail begins with; None where it has none."""
    parts_per_output_px: Mapping[str, float]
    """Classifier and upsamplers, per output pixel, their folded first layers left out."""


@dataclass(frozen=True)
class Tiling:
    """Whether tiles of the image give what the whole image gives."""

    exact: bool
    radius_px: int | None
    """How far an output looks around, in input pixels; None where that is not bounded."""
    reason: str | None
    """What prevents it; None where nothing does."""


@dataclass(frozen=True)
class Inspection:
    """Holds what pcsr-inspect finds."""

    path: str
    form: str
    """`checkpoint` or `bundle`."""
    kind: str
    """`pcsr`, `liif` (one upsampler that gives the colour) or `plain`."""
    architecture: str
    arguments: Mapping[str, Any]
    scale: float
    """The scale that the figures are for."""
    trained_scale: float
    parameters: int
    upsamplers: Sequence[Mapping[str, Any]]
    """Widths, neighbours and base of each, heaviest first."""
    classifier_widths: Sequence[int] | None
    work: Work
    tiling: Tiling
    speedup: Speedup
    precisions: Sequence[Precision]
    hosts: Sequence[Host]

    def to_json(self) -> str:
        """Returns the report as JSON."""
        return json.dumps(asdict(self), indent=2, allow_nan=False) + "\n"


def inspect_file(path: Path, scale: float | None = None) -> Inspection:
    """Looks at a checkpoint or a bundle; nothing is written.

    Args:
        scale: at which an upsampler is counted; None stands for the trained one, the only one that
            a plain network has.

    Raises:
        CheckpointError, BundleError: it is neither, or it is damaged.
        VerificationError: its graph cannot be exported, or its work not be counted.
        UsageError: the scale is out of range, or not that of a plain network.
    """
    if scale is not None and not 1 <= scale <= LARGEST_SCALE:
        raise UsageError(f"scale must lie between 1 and {LARGEST_SCALE}, found {scale:g}")
    subject = read_subject(path)
    trained = subject.trained_scale
    if scale is not None and subject.is_plain and scale != trained:
        raise UsageError(f"{path} upscales by {trained:g} alone, found --scale {scale:g}")
    counted = scale or trained
    tiling = _tiling(subject)
    precisions = find_precisions(subject, tiling.exact)
    speedup = estimate_speedup(subject, counted)
    if not precisions[0].possible:
        speedup = replace(speedup, advice=f"It cannot be exported: {precisions[0].note}.")
    return Inspection(
        path=str(path),
        form=subject.form,
        kind=subject.kind,
        architecture=subject.architecture,
        arguments=subject.arguments,
        scale=counted,
        trained_scale=trained,
        parameters=subject.parameters,
        upsamplers=subject.upsamplers,
        classifier_widths=subject.classifier_widths,
        work=_work(subject, counted),
        tiling=tiling,
        speedup=speedup,
        precisions=precisions,
        hosts=find_hosts(subject, precisions),
    )


def _work(subject: Subject, scale: float) -> Work:
    image, parts = subject.image_work, subject.mlps
    tail = image.tail_macs
    if parts:
        own = parts["upsampler_0"]
        published = own.published_per_input_px(scale) if subject.kind == "liif" else None
        tail = own.per_input_px(scale) if published is None else published
    share = tail / (image.backbone_macs + tail) if tail else 0.0
    per_pixel = {role: part.output_macs for role, part in parts.items()}
    return Work(image.backbone_macs, tail, share, image.tail_begins, per_pixel)


def _tiling(subject: Subject) -> Tiling:
    field = receptive_field(subject.graph)
    radius = field.radius_px
    if radius is None:
        return Tiling(False, None, "; ".join(map(str, field.obstacles)))
    stated = radius if subject.bundle is None else subject.bundle.manifest.model.receptive_radius_px
    if stated is None:
        return Tiling(False, None, "the bundle was exported for whole images (--whole-image)")
    return Tiling(True, stated, None)
