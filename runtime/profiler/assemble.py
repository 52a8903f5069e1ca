"""Measured times -> a `Case`."""

from collections.abc import Mapping, Sequence
from statistics import fmean, median
from typing import TYPE_CHECKING

from pcsr.manifest import Manifest
from pcsr.runtime.geometry.grid import hr_size
from pcsr.runtime.result import heavy_share

from .cases import Spec
from .measuring.calls import Measurement
from .measuring.first_use import FirstUse
from .measuring.stability import case_warnings
from .measuring.statistics import by_stage, distribution, known_distribution, paired_ratio
from .plan import MeasurementPlan
from .record import Case, Ceilings, Stage
from .session import CaseSeries
from .work import Work, speed, stage_work

if TYPE_CHECKING:
    from pcsr.runtime.upscaler import Upscaler

RECORDING = 0.10  # by which the staged calls of a GPU may take longer without a word


def make_case(
    spec: Spec,
    upscaler: "Upscaler",
    all_series: Mapping[str, CaseSeries],
    ceilings: Ceilings,
    plan: MeasurementPlan,
) -> Case:
    """Makes the case of what was measured. all_series: of all cases by name, for the ratio."""
    series = all_series[spec.name]
    turns = list(series.rounds.values())
    first = series.first or FirstUse(0.0)
    staged_ms = fmean(turn.staged_ms for turn in turns if turn.staged_ms is not None)
    stages = _stages(spec, upscaler.bundle.manifest, turns, staged_ms, ceilings)
    unaccounted_ms = staged_ms - sum(stage.ms for stage in stages)
    size = hr_size(spec.picture.size, spec.scale)
    times = list(series.times_ms.values())
    counts = turns[-1].pixels
    mean_ms = fmean(times)
    rival = all_series[spec.baseline].times_ms if spec.baseline else {}
    return Case(
        name=spec.name,
        bundle=spec.setup.bundle,
        kind=upscaler.bundle.kind,
        device=spec.setup.device,
        backend=upscaler.backend,
        precision=spec.setup.precision,
        passes=upscaler.passes,
        mode=spec.mode,
        lr_size=spec.picture.size,
        hr_size=size,
        scale=spec.scale,
        host_ms=distribution(series.host_ms, plan.percentiles),
        device_ms=known_distribution((turn.device_ms for turn in turns), plan.percentiles),
        h2d_ms=known_distribution((turn.h2d_ms for turn in turns), plan.percentiles),
        d2h_ms=known_distribution((turn.d2h_ms for turn in turns), plan.percentiles),
        enqueue_ms=known_distribution((turn.enqueue_ms for turn in turns), plan.percentiles),
        calls_per_s=1000 / mean_ms,
        output_megapixels_per_s=size[0] * size[1] / mean_ms / 1000,
        stages=stages,
        unaccounted_ms=unaccounted_ms,
        pixels_per_upsampler=counts,
        heavy_share=heavy_share(counts) if counts else None,
        open_ms=first.open_ms or 0.0,
        first_ms=first.first_ms,
        switch_ms=median(series.switches_ms) if series.switches_ms else None,
        peak_mib=first.peak_mib,
        over_baseline=paired_ratio(series.times_ms, rival),
        is_baseline=spec.is_baseline,
        psnr_db=series.psnr_db,
        times_ms=tuple(series.host_ms),
        warnings=(
            *series.notes,
            *case_warnings(times, unaccounted_ms / staged_ms),
            *_recording(turns, staged_ms, mean_ms),
        ),
        picture=spec.picture.name,
    )


def _stages(
    spec: Spec,
    manifest: Manifest,
    turns: Sequence[Measurement],
    staged_ms: float,
    ceilings: Ceilings,
) -> tuple[Stage, ...]:
    """Lists them in the order of execution, with their means."""
    counts, precision = turns[-1].pixels, spec.setup.precision
    size = hr_size(spec.picture.size, spec.scale)
    work = stage_work(manifest, precision, spec.picture.size, size, counts)
    half = ceilings.half_gflop_s if precision in ("fp16", "bf16") else None
    pixels = {f"upsampler_{j}": count for j, count in enumerate(counts)}
    found = []
    for name, ms in by_stage([turn.stage_ms for turn in turns], fmean).items():
        achieved = speed(work.get(name, Work(0.0)), ms)
        gflop_s, gb_s = 1000 * (achieved["tflop_s"] or 0) or None, achieved["gb_s"] or None
        of_compute = gflop_s and gflop_s / (half or ceilings.gflop_s)
        of_memory = gb_s and gb_s / ceilings.gb_s
        share, made = ms / staged_ms, pixels.get(name)
        found.append(Stage(name, ms, share, made, gflop_s, gb_s, of_compute, of_memory))
    return tuple(found)


def _recording(turns: Sequence[Measurement], staged_ms: float, mean_ms: float) -> list[str]:
    """Warns, on a GPU, where the calls that the stages were timed in are slower than the others."""
    if turns[0].device_ms is None or abs(staged_ms - mean_ms) <= RECORDING * mean_ms:
        return []
    return [
        f"the stages were timed in calls without a recording, which take "
        f"{staged_ms / mean_ms - 1:+.0%} of the device time above"
    ]
