"""Measured times -> a `Case`."""

from collections.abc import Mapping, Sequence
from statistics import fmean, median

from pcsr.manifest import Manifest
from pcsr.runtime.geometry.grid import hr_size
from pcsr.runtime.result import heavy_share

from .callers import Caller, Sample
from .cases import Spec
from .plan import Plan
from .record import Case, Ceilings, Distribution, Stage
from .rounds import Timing
from .samples import distribution, means, paired_ratio
from .stability import case_warnings
from .work import Work, speed, stage_work

RECORDING = 0.10  # by which the staged calls of a GPU may take longer without a word


def make_case(
    spec: Spec,
    caller: Caller,
    timings: Mapping[str, Timing],
    ceilings: Ceilings,
    plan: Plan,
) -> Case:
    """Of one case with samples. timings: of all cases, for the ratio."""
    timing = timings[spec.name]
    samples = list(timing.samples.values())
    manifest = caller.upscaler.bundle.manifest
    stages = _stages(spec, manifest, samples, ceilings)
    staged_ms = fmean(sample.staged_ms for sample in samples)
    unaccounted_ms = staged_ms - sum(stage.ms for stage in stages)
    size = hr_size(spec.picture.size, spec.scale)
    times = headline(timing)
    counts = samples[-1].pixels
    mean_ms = fmean(times.values())
    warnings = case_warnings([*times.values()], unaccounted_ms / staged_ms)
    return Case(
        name=spec.name,
        bundle=spec.engine.bundle,
        kind=spec.manifest_kind,
        device=spec.engine.device,
        backend=caller.upscaler.backend,
        precision=spec.engine.precision,
        passes=caller.upscaler.passes,
        mode=spec.mode,
        lr_size=spec.picture.size,
        hr_size=size,
        scale=spec.scale,
        host_ms=distribution(timing.host_ms, plan.percentiles),
        device_ms=_distribution([s.device_ms for s in samples], plan),
        h2d_ms=_distribution([s.h2d_ms for s in samples], plan),
        d2h_ms=_distribution([s.d2h_ms for s in samples], plan),
        enqueue_ms=_distribution([s.enqueue_ms for s in samples], plan),
        calls_per_s=1000 / mean_ms,
        output_megapixels_per_s=size[0] * size[1] / mean_ms / 1000,
        stages=stages,
        unaccounted_ms=unaccounted_ms,
        pixels_per_upsampler=counts,
        heavy_share=heavy_share(counts) if counts else None,
        open_ms=timing.first.open_ms or 0.0,
        first_ms=timing.first.first_ms,
        switch_ms=median(timing.switches_ms) if timing.switches_ms else None,
        peak_mib=timing.first.peak_mib,
        over_baseline=_ratio(spec, timings),
        is_baseline=spec.is_baseline,
        psnr_db=timing.psnr_db,
        times_ms=tuple(timing.host_ms),
        warnings=(*timing.notes, *warnings, *_recording(samples, staged_ms, mean_ms)),
        picture=spec.picture.name,
    )


def headline(timing: Timing) -> dict[int, float]:
    """By round: time on the device where there is one, else on the host."""
    return {
        number: sample.host_ms if sample.device_ms is None else sample.device_ms
        for number, sample in timing.samples.items()
    }


def _ratio(spec: Spec, timings: Mapping[str, Timing]) -> float | None:
    if spec.is_baseline:
        return 1.0
    if spec.baseline is None:
        return None
    return paired_ratio(headline(timings[spec.name]), headline(timings[spec.baseline]))


def _stages(
    spec: Spec, manifest: Manifest, samples: Sequence[Sample], ceilings: Ceilings
) -> tuple[Stage, ...]:
    """In the order of execution, with their means."""
    counts = samples[-1].pixels
    size = hr_size(spec.picture.size, spec.scale)
    work = stage_work(manifest, spec.engine.precision, spec.picture.size, size, counts)
    whole_ms = fmean(sample.staged_ms for sample in samples)
    is_half = spec.engine.precision in ("fp16", "bf16") and ceilings.half_gflop_s is not None
    peak = ceilings.half_gflop_s if is_half else ceilings.gflop_s
    pixels = {f"upsampler_{j}": count for j, count in enumerate(counts)}
    return tuple(
        _stage(name, ms, whole_ms, pixels.get(name), work.get(name), peak or 0, ceilings.gb_s)
        for name, ms in means([sample.stage_ms for sample in samples]).items()
    )


def _stage(
    name: str,
    ms: float,
    whole_ms: float,
    pixels: int | None,
    work: Work | None,
    gflop_s: float,
    gb_s: float,
) -> Stage:
    found = speed(work, ms) if work else {"gb_s": None, "tflop_s": None}
    moved = found["gb_s"]
    computed = 1000 * found["tflop_s"] if found["tflop_s"] else None
    return Stage(
        name,
        ms,
        ms / whole_ms,
        pixels,
        computed,
        moved,
        computed / gflop_s if computed and gflop_s else None,
        moved / gb_s if moved and gb_s else None,
    )


def _distribution(values: Sequence[float | None], plan: Plan) -> Distribution | None:
    known = [value for value in values if value is not None]
    return distribution(known, plan.percentiles) if known else None


def _recording(samples: Sequence[Sample], staged_ms: float, mean_ms: float) -> list[str]:
    """On a GPU: whether the calls that the stages were timed in are those that are measured."""
    if samples[0].device_ms is None or abs(staged_ms - mean_ms) <= RECORDING * mean_ms:
        return []
    return [
        f"the stages were timed in calls without a recording, which take "
        f"{staged_ms / mean_ms - 1:+.0%} of the device time above"
    ]
