"""Routing on the device: which upsampler each pixel gets, by `Rule` of `pcsr.runtime.routing`, and
the pixels of each heavier one as a list.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import triton
import triton.language as tl
from torch import Tensor

from pcsr.manifest import classifier_outputs

from .launch import block, expect, expect_band

BLOCK = 512  # pixels of a program, which is one warp


@dataclass(frozen=True)
class DeviceRule:
    """A rule whose values are on the device."""

    upsamplers: int
    """M, more than 1."""
    kind: Literal["cut", "bounds", "penalty"]
    """What `values` are."""
    values: Tensor
    """Float32 values. cut [1]: the logit above which a pixel belongs to the heavier half (fixed k
    with M = 2, a share of heavy pixels with any M). bounds [M - 1]: ADM's thresholds of difficulty,
    hardest first, of `adaptive_bounds`. penalty [M]: k * ln(cost) (fixed k with M > 2)."""

    def __post_init__(self) -> None:
        size = {"cut": 1, "bounds": self.upsamplers - 1, "penalty": self.upsamplers}[self.kind]
        expect(self.kind, self.values, torch.float32, (size,))
        if self.upsamplers < 2 or (self.kind == "penalty" and self.upsamplers == 2):
            raise ValueError(f"no rule of {self.kind} for {self.upsamplers} upsamplers")


@dataclass(frozen=True)
class RoutingBuffers:
    """Holds what `route` fills in, for N pixels of a band."""

    labels: Tensor
    """[N] uint8, 0 is the heaviest."""
    difficulty: Tensor
    """[N] float32: the probability of the heavier half."""
    lists: Tensor
    """[M - 1, N] int32: the pixels of each upsampler but the lightest, in any order."""
    counts: Tensor
    """[M - 1] int32: how many pixels each list has."""
    unfit: Tensor
    """[1] int32: how many pixels have a logit that is not finite (they are light); it is only added
    to."""


@triton.jit
def difficulty_logit(logits, pixel, mask, pixels, UPSAMPLERS: tl.constexpr):
    """Gives the logit [N] of the heavier half of the upsamplers (logsumexp of its logits minus that
    of the others), and whether all logits are finite.
    """
    stride = tl.cast(pixels, tl.int64)
    first = tl.load(logits + pixel, mask=mask, other=0.0)
    is_fit = tl.abs(first) < float("inf")
    if UPSAMPLERS > 2:
        largest = first
        for c in tl.static_range(1, UPSAMPLERS):
            value = tl.load(logits + c * stride + pixel, mask=mask, other=0.0)
            is_fit = is_fit & (tl.abs(value) < float("inf"))
            largest = tl.maximum(largest, value)
        heavier, lighter = tl.exp(first - largest), tl.zeros_like(first)
        for c in tl.static_range(1, UPSAMPLERS):
            value = tl.load(logits + c * stride + pixel, mask=mask, other=0.0)
            if c < (UPSAMPLERS + 1) // 2:
                heavier += tl.exp(value - largest)
            else:
                lighter += tl.exp(value - largest)
        tiny = 1.1754943508222875e-38  # the least normal float32
        first = tl.log(tl.maximum(heavier, tiny)) - tl.log(tl.maximum(lighter, tiny))
    return first, is_fit


@triton.jit
def sigmoid(logit):
    """Gives 1 / (1 + exp(-logit)), without overflow."""
    decay = tl.exp(-tl.abs(logit))
    return tl.where(logit >= 0, 1.0, decay) / (1.0 + decay)


@triton.jit
def key_of(value):
    """Gives int32 keys in the order of float32 values; those of NaNs are beyond all others."""
    bits = value.to(tl.int32, bitcast=True)
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


@triton.jit
def of_key(key):
    """Gives the float32 value of a key."""
    return (key ^ ((key >> 31) & 0x7FFFFFFF)).to(tl.float32, bitcast=True)


@triton.jit
def _best(
    logits, values, pixel, mask, pixels, FIRST: tl.constexpr, STOP: tl.constexpr, COST: tl.constexpr
):
    """Chooses of upsamplers FIRST to STOP the one of the largest utility (logit - k ln cost), the
    lightest of level ones.
    """
    label = tl.full(pixel.shape, FIRST, tl.int32)
    best = tl.full(pixel.shape, float("-inf"), tl.float32)
    for c in tl.static_range(FIRST, STOP):
        utility = tl.load(logits + c * tl.cast(pixels, tl.int64) + pixel, mask=mask, other=0.0)
        if COST:
            utility -= tl.load(values + c)
        label = tl.where(utility >= best, c, label)
        best = tl.maximum(utility, best)
    return label


@triton.jit
def _label(
    logits,
    values,
    logit,
    probability,
    pixel,
    mask,
    pixels,
    UPSAMPLERS: tl.constexpr,
    KIND: tl.constexpr,
):
    """Chooses the upsampler of each pixel, as `Rule` does."""
    HEAVY: tl.constexpr = (UPSAMPLERS + 1) // 2
    if KIND == "bounds":
        label = tl.zeros_like(pixel)
        for bound in tl.static_range(UPSAMPLERS - 1):
            label += (probability < tl.load(values + bound)).to(tl.int32)
    elif KIND == "penalty":
        label = _best(logits, values, pixel, mask, pixels, 0, UPSAMPLERS, True)
    elif UPSAMPLERS == 2:
        label = (logit <= tl.load(values)).to(tl.int32)
    else:
        heavier = _best(logits, values, pixel, mask, pixels, 0, HEAVY, False)
        lighter = _best(logits, values, pixel, mask, pixels, HEAVY, UPSAMPLERS, False)
        label = tl.where(logit > tl.load(values), heavier, lighter)
    return label


@triton.jit
def route_kernel(
    logits,
    values,
    buffers,
    pixels,
    UPSAMPLERS: tl.constexpr,
    KIND: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Routes BLOCK pixels (paper section 3.3). The arguments are those of `route`; each program
    takes its places in the lists by atomic sums of `counts`.
    """
    labels, difficulty, lists, counts, unfit = buffers
    pixel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = pixel < pixels
    logit, is_fit = difficulty_logit(logits, pixel, mask, pixels, UPSAMPLERS)
    probability = sigmoid(logit)
    label = _label(logits, values, logit, probability, pixel, mask, pixels, UPSAMPLERS, KIND)
    label = tl.where(is_fit, label, UPSAMPLERS - 1)
    tl.store(difficulty + pixel, probability, mask=mask)
    tl.store(labels + pixel, label.to(tl.uint8), mask=mask)
    bad = tl.sum((mask & (is_fit == 0)).to(tl.int32), axis=0)
    tl.atomic_add(unfit, bad, mask=bad > 0, sem="relaxed")
    for j in tl.static_range(UPSAMPLERS - 1):
        is_member = mask & (label == j)
        place = tl.cumsum(is_member.to(tl.int32), axis=0)
        members = tl.sum(is_member.to(tl.int32), axis=0)
        start = tl.atomic_add(counts + j, members, sem="relaxed")
        own = lists + j * tl.cast(pixels, tl.int64)
        tl.store(own + (start + place - 1), pixel, mask=is_member)


def route(logits: Tensor, rule: DeviceRule, out: RoutingBuffers) -> None:
    """Fills in labels, difficulty and lists of all pixels; counts are set to 0 first.

    Args:
        logits: [K, N] float32, of `dense`.
    """
    count, pixels = rule.upsamplers, logits.shape[-1]
    expect_band(1, pixels)
    expect("logits", logits, torch.float32, (classifier_outputs(count), pixels))
    expect("labels", out.labels, torch.uint8, (pixels,))
    expect("difficulty", out.difficulty, torch.float32, (pixels,))
    expect("lists", out.lists, torch.int32, (count - 1, pixels))
    expect("counts", out.counts, torch.int32, (count - 1,))
    expect("unfit", out.unfit, torch.int32, (1,))
    out.counts.zero_()
    buffers = (out.labels, out.difficulty, out.lists, out.counts, out.unfit)
    constants = {"UPSAMPLERS": count, "KIND": rule.kind}
    tile = block(BLOCK, pixels)
    grid = (triton.cdiv(pixels, tile),)
    route_kernel[grid](logits, rule.values, buffers, pixels, **constants, BLOCK=tile, num_warps=1)
