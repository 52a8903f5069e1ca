"""Fidelity of one model in one precision: every path by itself, and fused against graphs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks.callers import Files, load_network, open_upscaler
from benchmarks.contenders import (
    HEAVY_SHARE,
    SCALE,
    Implementation,
    pcsr_implementations,
    plain_implementations,
)
from benchmarks.records import Record
from pcsr import Upscaler
from pcsr.bundle import Bundle
from pcsr.export.verification.fp32 import IMAGE_TOLERANCE
from pcsr.export.verification.half import QualityCase, quality_cases
from pcsr.export.verification.references import synthetic_image
from pcsr.models import PCSR
from pcsr.runtime.profiler.measuring.rounds import reason
from pcsr.runtime.torch_backend.arithmetic import exact_arithmetic
from pcsr.vectors import Vector

from .fidelity import PathResult, Run, check_path, compare, summary
from .measure import DeviceSetting, Guard

BOTH_INEXACT = 2 * IMAGE_TOLERANCE  # each is within one of the reference
ODD_CASES: tuple[tuple[tuple[int, int], float, Mapping[str, Any]], ...] = (
    ((1, 1), 4, {}),
    ((1, 9), 4, {"adaptive": True}),
    ((31, 17), 2.5, {"heavy_ratio": HEAVY_SHARE}),
    ((33, 47), 4, {"heavy_ratio": HEAVY_SHARE}),
    ((33, 47), 4, {"heavy_ratio": 0.0}),
    ((33, 47), 4, {"heavy_ratio": 1.0}),
    ((33, 47), 4, {"k": 25.0}),
    ((33, 47), 4, {"k": -25.0}),
    ((33, 47), 4, {"refine": False}),
    ((67, 71), 4, {"adaptive": True}),
)


@dataclass(frozen=True)
class Depth:
    """Says how many are checked; None: all."""

    calls: int
    """With each image."""
    vectors: int | None = None
    """The smallest ones."""
    quality_cases: int | None = None
    odd_cases: int | None = None


FULL = Depth(4)
QUICK = Depth(1, vectors=2, quality_cases=0, odd_cases=3)


def check_model(
    setting: DeviceSetting, backends: Sequence[str], depth: Depth = FULL
) -> Iterator[Record]:
    """Makes one record per path; one that raises has its reason. backends: beside PyTorch."""
    as_users_have_it = Implementation("pcsr", "torch", "graphs", cuda_graphs=True)
    pcsr = [*pcsr_implementations(backends), as_users_have_it]
    for is_pcsr, implementations in ((True, pcsr), (False, plain_implementations(backends))):
        needed = setting.precision != "fp32" and depth.quality_cases != 0
        cases = _cases(setting.files, is_pcsr)[: depth.quality_cases] if needed else []
        for one in implementations:
            check = partial(_check, one, setting, cases, depth)
            yield _attempted(one.label, True, check, setting.guard)
    agree = partial(_agreement, setting, depth)
    yield _attempted("fused beside graphs", True, agree, setting.guard)
    if setting.precision == "fp32":
        published = partial(_published, setting, depth)
        yield _attempted("published form, eager", False, published, setting.guard)


def _cases(files: Files, is_pcsr: bool) -> list[QualityCase]:
    scale = Bundle.load(files.bundle(is_pcsr)).manifest.trained_scale
    return quality_cases(load_network(files.pcsr_ckpt if is_pcsr else files.plain_ckpt), scale)


def _attempted(path: str, ours: bool, check: Callable[[], Record], guard: Guard) -> Record:
    facts: Record = {"path": path, "ours": ours, "passed": False, "error": None}
    try:
        found: Record = guard(path, check)
    except Exception as error:  # any failure is this path's result
        return facts | {"error": reason(error)}
    return facts | found


def _check(
    implementation: Implementation, setting: DeviceSetting, cases: list[QualityCase], depth: Depth
) -> Record:
    upscaler = open_path(implementation, setting)
    run = upscaler_run(upscaler)
    recorded = implementation.cuda_graphs and implementation.passes != "graphs"
    must_replay = recorded and setting.device.type == "cuda"
    vectors = _vectors(setting.files.bundle(implementation.is_pcsr), depth)
    where = (setting.precision, setting.device)
    found = check_path(run, vectors, cases, *where, depth.calls, must_replay)
    return found | {"choices": list(upscaler.choices)}


def _vectors(bundle: str, depth: Depth) -> list[Vector]:
    vectors = Bundle.load(bundle).vectors()
    return sorted(vectors, key=lambda vector: vector.expected.size)[: depth.vectors]


def open_path(implementation: Implementation, setting: DeviceSetting) -> Upscaler:
    """Opens one of our implementations."""
    bundle = setting.files.bundle(implementation.is_pcsr)
    return open_upscaler(implementation, bundle, setting.place())


def upscaler_run(upscaler: Upscaler) -> Run:
    """Makes of it what the checks call."""

    def run(image: Any, scale: float, options: dict[str, Any]) -> PathResult:  # noqa: ANN401
        result = upscaler(image, scale, **options)
        image, routed = (
            None if found is None else torch.as_tensor(found).cpu().numpy()
            for found in (result.image, result.assignment)
        )
        return PathResult(image, routed, list(result.stats.stage_ms))

    return run


def _agreement(setting: DeviceSetting, depth: Depth) -> Record:
    """Compares graphs and fused passes, in their replay, on odd images and in odd modes."""
    graphs, fused = (
        Implementation("pcsr", "torch", passes, passes == "fused") for passes in ("graphs", "fused")
    )
    expect, run = (upscaler_run(open_path(one, setting)) for one in (graphs, fused))
    checks = []
    for size, scale, options in ODD_CASES[: depth.odd_cases]:
        image = synthetic_image(size)
        expected = expect(image, scale, dict(options))
        for _ in range(depth.calls):
            found = run(image, scale, dict(options))
        what = f"{size[1]}x{size[0]} x{scale:g} {dict(options)}"
        checks.append(compare(what, found, expected, setting.precision, BOTH_INEXACT))
    return summary(checks)


def _published(setting: DeviceSetting, depth: Depth) -> Record:
    """Checks the form that ours are timed against, at the trained scale: elsewhere lie ties."""
    files, device = setting.files, setting.device
    network = load_network(files.pcsr_ckpt).to(device)
    assert isinstance(network, PCSR)

    def run(image: Any, scale: float, options: dict[str, Any]) -> PathResult:  # noqa: ANN401
        tensor = image if isinstance(image, torch.Tensor) else torch.from_numpy(image).to(device)
        with exact_arithmetic():
            found = network(tensor.permute(2, 0, 1)[None], scale, **options)
        pixels = found.image[0].permute(1, 2, 0).cpu().numpy()
        return PathResult(pixels, found.assignment[0].cpu().numpy().astype(np.uint8))

    vectors = [v for v in _vectors(files.pcsr_bundle, FULL) if v.scale == SCALE][: depth.vectors]
    return check_path(run, vectors, [], "fp32", None, 1, False)
