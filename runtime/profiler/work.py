"""Bytes and floating-point operations of one call, counted: what its times are held against.

Bytes are the least that the stage must move: every input once, every output once. A backbone moves
more, its layers' results; its figure counts the image and the features only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pcsr.manifest import Manifest

FLOAT = 4
ITEM = {"fp16": 2, "bf16": 2}

Size = tuple[int, int]


@dataclass(frozen=True)
class Work:
    """Work is what one stage moves and computes. flops: two per multiply-add."""

    bytes: float
    flops: float = 0.0

    def __add__(self, other: "Work") -> "Work":
        return Work(self.bytes + other.bytes, self.flops + other.flops)


def stage_work(
    manifest: Manifest, precision: str, lr_size: Size, hr_size: Size, counts: Sequence[int]
) -> dict[str, Work]:
    """Counts by the names of the stages in `Stats.stage_ms`, of all backends. counts: pixels per
    upsampler, heaviest first. An upsampler's work is that of the pixels routed to it.
    """
    lr, hr = lr_size[0] * lr_size[1], hr_size[0] * hr_size[1]
    costs, item = manifest.costs, ITEM.get(precision, FLOAT)
    image, result, planes, canvas = 3 * lr, 3 * hr, 3 * FLOAT * lr, 3 * FLOAT * hr
    if manifest.kind == "plain":
        return {
            "upload": Work(image),
            "network": Work(planes + canvas, 2 * costs.backbone_macs * lr),
            "convert": Work(canvas + result),
            "download": Work(result),
        }
    outputs = {1: 0, 2: 1}.get(len(counts), len(counts))
    features = manifest.model.feature_width * item * lr
    logits, routing = outputs * FLOAT * hr, (1 + FLOAT) * hr
    heavier = FLOAT * sum(counts[:-1])  # their list
    dense_macs = (costs.classifier_macs + costs.upsampler_macs[-1]) * hr
    upsamplers = enumerate(zip(costs.upsampler_macs, counts, strict=True))
    return {
        "upload": Work(image),
        "backbone": Work(planes + features, 2 * costs.backbone_macs * lr),
        "dense": Work(features + planes + canvas + logits, 2 * dense_macs),
        "classifier": Work(features + logits, 2 * costs.classifier_macs * hr),
        "routing": Work(logits + routing + heavier),
        "compose": Work(planes + canvas),
        "finish": Work(canvas + hr + result),
        "refinement": Work(canvas + hr + result),
        "download": Work(result + routing),
    } | {
        f"upsampler_{j}": Work(features + 4 * FLOAT * count, 2 * macs * count)
        for j, (macs, count) in upsamplers
    }


def total_work(stages: Mapping[str, Work]) -> Work:
    """Adds the work of the device alone, by the fused passes, without the way to it and back."""
    count = sum(name.startswith("upsampler") for name in stages)
    names = ["network", "convert", "backbone", "dense", "routing", "finish"]
    names += [f"upsampler_{j}" for j in range(count - 1)]  # the lightest is in `dense`
    return sum((stages[name] for name in names if name in stages), Work(0.0))


def speed(work: Work, ms: float) -> dict[str, Any]:
    """Gives achieved GB/s and TFLOP/s."""
    if ms <= 0:
        return {"gb_s": None, "tflop_s": None}
    return {"gb_s": work.bytes / ms / 1e6, "tflop_s": work.flops / ms / 1e9}
