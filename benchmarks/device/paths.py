"""Fidelity of one model in one precision: every path by itself, and fused against graphs."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.engines import SCALE, Files, load_network
from benchmarks.memory import reason
from benchmarks.records import Record
from pcsr.bundle import Bundle
from pcsr.export.verification.fp32 import IMAGE_TOLERANCE
from pcsr.export.verification.half import NO_ROUTING, QualityCase, quality_cases
from pcsr.export.verification.synthetic_images import synthetic_image
from pcsr.models import PCSR
from pcsr.runtime.torch_backend.arithmetic import exact_arithmetic
from pcsr.vectors import Vector

from .callers import open_upscaler
from .contenders import HEAVY_SHARE, Engine, Installed, pcsr_engines, plain_engines
from .fidelity import Found, Run, check_path, compare, summary, to_array
from .rounds import Guard

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
    """How much is checked. calls: with each image. vectors: so many, the smallest; quality_cases
    and odd_cases: so many, the first. None: all.
    """

    calls: int
    vectors: int | None = None
    quality_cases: int | None = None
    odd_cases: int | None = None


FULL = Depth(4)
QUICK = Depth(1, vectors=2, quality_cases=0, odd_cases=3)


def check_model(
    files: Files,
    precision: str,
    device: torch.device,
    installed: Installed,
    guard: Guard,
    depth: Depth = FULL,
) -> Iterator[Record]:
    """One record per path; one that raises has its reason."""
    for kind, engines in (("pcsr", pcsr_engines), ("plain", plain_engines)):
        bundle = files.pcsr_bundle if kind == "pcsr" else files.plain_bundle
        ckpt = files.pcsr_ckpt if kind == "pcsr" else files.plain_ckpt
        needed = precision != "fp32" and depth.quality_cases != 0
        cases = _cases(Path(ckpt), bundle) if needed else []
        for engine in _with_graphs_on(engines(installed)):
            check = partial(_check, engine, bundle, precision, device, cases, depth)
            yield _attempted(engine.label, True, check, guard)
    agree = partial(_agreement, files, precision, device, depth)
    yield _attempted("fused beside graphs", True, agree, guard)
    if precision == "fp32":
        published = partial(_published, files, device, depth)
        yield _attempted("published form, eager", False, published, guard)


def _with_graphs_on(engines: list[Engine]) -> Iterator[Engine]:
    """Those that are measured, and passes `graphs` with recording allowed, as users have it."""
    yield from engines
    if engines[0].family == "pcsr":
        yield Engine("pcsr", "torch", "graphs", True)


def _cases(ckpt: Path, bundle: str) -> list[QualityCase]:
    scale = Bundle.load(bundle).manifest.trained_scale
    return quality_cases(load_network(ckpt), scale)


def _attempted(path: str, ours: bool, check: Callable[[], Record], guard: Guard) -> Record:
    facts: Record = {"path": path, "ours": ours, "passed": False, "error": None}
    try:
        found: Record = guard(path, check)
    except Exception as error:  # any failure is this path's result
        return facts | {"error": reason(f"{type(error).__name__}: {error}")}
    return facts | found


def _check(
    engine: Engine,
    bundle: str,
    precision: str,
    device: torch.device,
    cases: list[QualityCase],
    depth: Depth,
) -> Record:
    run = upscaler_run(engine, bundle, precision, device)
    recorded = engine.cuda_graphs and engine.passes != "graphs" and device.type == "cuda"
    vectors = _vectors(bundle, depth)
    cases = cases[: depth.quality_cases]
    return check_path(run, vectors, cases, precision, device, depth.calls, recorded)


def _vectors(bundle: str, depth: Depth) -> list[Vector]:
    """Of the bundle, the smallest first."""
    vectors = Bundle.load(bundle).vectors()
    return sorted(vectors, key=lambda vector: vector.expected.size)[: depth.vectors]


def upscaler_run(engine: Engine, bundle: str, precision: str, device: torch.device) -> Run:
    """One of our engines as the checks call it."""
    upscaler = open_upscaler(engine, bundle, precision, device)

    def run(image: Any, scale: float, options: dict[str, Any]) -> Found:  # noqa: ANN401
        result = upscaler(image, scale, **options)
        routed = NO_ROUTING if result.assignment is None else to_array(result.assignment)
        return Found(to_array(result.image), routed, list(result.stats.stage_ms))

    return run


def _agreement(files: Files, precision: str, device: torch.device, depth: Depth) -> Record:
    """Odd images and modes: the two implementations, and the recorded one's replay."""
    graphs = Engine("pcsr", "torch", "graphs", False)
    fused = Engine("pcsr", "torch", "fused", True)
    expect = upscaler_run(graphs, files.pcsr_bundle, precision, device)
    run = upscaler_run(fused, files.pcsr_bundle, precision, device)
    checks = []
    for size, scale, options in ODD_CASES[: depth.odd_cases]:
        image = synthetic_image(size)
        expected = expect(image, scale, dict(options))
        for _ in range(depth.calls):
            found = run(image, scale, dict(options))
        what = f"{size[0]}x{size[1]} x{scale:g} {dict(options)}"
        checks.append(compare(what, found, expected, precision, BOTH_INEXACT))
    return summary(checks)


def _published(files: Files, device: torch.device, depth: Depth) -> Record:
    """The form that ours are timed against, at the trained scale: elsewhere pixels lie on ties."""
    network = load_network(Path(files.pcsr_ckpt)).to(device)
    assert isinstance(network, PCSR)

    def run(image: Any, scale: float, options: dict[str, Any]) -> Found:  # noqa: ANN401
        tensor = image if isinstance(image, torch.Tensor) else torch.from_numpy(image).to(device)
        with exact_arithmetic():
            found = network(tensor.permute(2, 0, 1)[None], scale, **options)
        pixels = found.image[0].permute(1, 2, 0).cpu().numpy()
        return Found(pixels, found.assignment[0].cpu().numpy().astype(np.uint8))

    vectors = [v for v in _vectors(files.pcsr_bundle, FULL) if v.scale == SCALE][: depth.vectors]
    return check_path(run, vectors, [], "fp32", None, 1, False)
