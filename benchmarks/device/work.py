"""Bytes and floating-point operations of one call, counted: what its times are held against.

Bytes are the least that the stage must move: every input once, every output once. A backbone moves
more, its layers' results; its figure counts the image and the features only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.sizes import Size
from pcsr.manifest import Manifest

FLOAT = 4
ITEM = {"fp16": 2, "bf16": 2, "fp32": 4}


@dataclass(frozen=True)
class Work:
    """Of one stage. flops: two per multiply-add."""

    bytes: float
    flops: float = 0.0


def stage_work(
    manifest: Manifest, precision: str, lr_size: Size, hr_size: Size, counts: Sequence[int]
) -> dict[str, Work]:
    """By the names of the stages in `Stats.stage_ms`, of the fused passes. counts: pixels per
    upsampler, heaviest first.
    """
    lr, hr = lr_size[0] * lr_size[1], hr_size[0] * hr_size[1]
    costs, item = manifest.costs, ITEM[precision]
    image, result = 3 * lr, 3 * hr
    transfers = {"upload": Work(image), "download": Work(result)}
    if manifest.kind == "plain":
        upscaled = 3 * FLOAT * hr
        network = Work(3 * FLOAT * lr + upscaled, 2 * costs.backbone_macs * lr)
        return transfers | {"network": network, "convert": Work(upscaled + result)}
    outputs = {1: 0, 2: 1}.get(len(counts), len(counts))
    features = manifest.model.feature_width * item * lr
    canvas, logits, routing = 3 * FLOAT * hr, outputs * FLOAT * hr, (1 + FLOAT) * hr
    dense_macs = (costs.classifier_macs + costs.upsampler_macs[-1]) * hr
    heavier = zip(costs.upsampler_macs[:-1], counts[:-1], strict=True)
    upsamplers = {
        f"upsampler_{j}": Work(features + (FLOAT + 3 * FLOAT) * count, 2 * macs * count)
        for j, (macs, count) in enumerate(heavier)
    }
    return transfers | {
        "download": Work(result + routing),
        "backbone": Work(3 * FLOAT * lr + features, 2 * costs.backbone_macs * lr),
        "dense": Work(features + 3 * FLOAT * lr + canvas + logits, 2 * dense_macs),
        "routing": Work(logits + routing + FLOAT * sum(counts[:-1])),
        **upsamplers,
        "finish": Work(canvas + hr + result),
    }


def total_work(stages: Mapping[str, Work]) -> Work:
    """Of the device alone, without the way to it and back."""
    inside = [work for name, work in stages.items() if name not in ("upload", "download")]
    return Work(sum(work.bytes for work in inside), sum(work.flops for work in inside))


def speed(work: Work, ms: float) -> dict[str, Any]:
    """Achieved GB/s and TFLOP/s."""
    if ms <= 0:
        return {"gb_s": None, "tflop_s": None}
    return {"gb_s": work.bytes / ms / 1e6, "tflop_s": work.flops / ms / 1e9}
