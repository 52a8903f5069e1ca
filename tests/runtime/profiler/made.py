"""Profiles made up for tests: figures of a likely size, none of them measured."""

from dataclasses import replace

import numpy as np

from pcsr.runtime.profiler.record import Case, Ceilings, Distribution, Profile, Stage

Shape = dict[str, tuple[float, float | None, float | None, float | None]]
# Share of a call, upsampler's share of the pixels, GFLOP/s, GB/s.
_PCSR: Shape = {
    "backbone": (0.80, None, 92.0, 3.1),
    "classifier": (0.02, None, 21.0, 1.9),
    "routing": (0.015, None, None, None),
    "upsampler 0": (0.095, 0.2, 104.0, 2.2),
    "upsampler 1": (0.035, 0.8, 41.0, 2.5),
    "compose": (0.01, None, None, 6.4),
    "refinement": (0.01, None, None, 5.2),
}
_PLAIN: Shape = {"network": (0.97, None, 88.0, 2.7), "convert": (0.02, None, None, 7.5)}
CEILINGS = Ceilings(gflop_s=123.0, gb_s=17.5)
SIZES = ((138, 210), (276, 420))


def distribution(times: np.ndarray) -> Distribution:
    p50, p90, p95, p99 = (float(value) for value in np.percentile(times, [50, 90, 95, 99]))
    mean, std = float(times.mean()), float(times.std(ddof=1))
    points = {"p50": p50, "p90": p90, "p95": p95, "p99": p99}
    moments = (mean, std, float(times.min()), float(times.max()))
    return Distribution(p50, p90, p95, p99, *moments, len(times), points)


def times_of(median_ms: float, calls: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    drift = np.linspace(0.99, 1.02, calls)
    return median_ms * drift * (1 + 0.02 * random.gamma(2, 1, calls) - 0.03)


def stages_of(
    shape: Shape,
    mean_ms: float,
    hr_pixels: int,
) -> tuple[Stage, ...]:
    return tuple(
        Stage(
            name,
            share * mean_ms,
            share,
            None if part is None else int(part * hr_pixels),
            gflop_s,
            gb_s,
            None if gflop_s is None else gflop_s / CEILINGS.gflop_s,
            None if gb_s is None else gb_s / CEILINGS.gb_s,
        )
        for name, (share, part, gflop_s, gb_s) in shape.items()
    )


def case(
    name: str = "carn-pcsr",
    mode: str = "ADM",
    lr_size: tuple[int, int] = (276, 420),
    median_ms: float = 719.0,
    over_baseline: float | None = None,
    psnr_db: float | None = None,
    calls: int = 60,
) -> Case:
    plain = mode == "plain"
    times = times_of(median_ms, calls)
    host = distribution(times)
    hr_size = (4 * lr_size[0], 4 * lr_size[1])
    pixels = hr_size[0] * hr_size[1]
    stages = stages_of(_PLAIN if plain else _PCSR, host.mean, pixels)
    return Case(
        name=f"{name}, {'' if plain else mode + ', '}{lr_size[1]}x{lr_size[0]}",
        bundle=f"/bundles/{name}",
        kind="plain" if plain else "pcsr",
        device="cpu",
        backend="native",
        precision="fp32",
        passes="compiled",
        mode=mode,
        lr_size=lr_size,
        hr_size=hr_size,
        scale=4.0,
        host_ms=host,
        device_ms=None,
        h2d_ms=None,
        d2h_ms=None,
        enqueue_ms=None,
        calls_per_s=1000 / host.mean,
        output_megapixels_per_s=pixels / 1000 / host.mean,
        stages=stages,
        unaccounted_ms=host.mean - sum(stage.ms for stage in stages),
        pixels_per_upsampler=() if plain else (pixels // 5, pixels - pixels // 5),
        heavy_share=None if plain else 0.2,
        open_ms=84.0,
        first_ms=1.6 * median_ms,
        switch_ms=None,
        peak_mib=412.0,
        over_baseline=1.0 if plain else over_baseline,
        is_baseline=plain,
        psnr_db=psnr_db,
        times_ms=tuple(float(value) for value in times),
        warnings=(),
    )


def profile(*cases: Case, warnings: tuple[str, ...] = ()) -> Profile:
    environment = {
        "date": "2026-01-02T03:04:05+00:00",
        "cpu": "A processor made up for tests",
        "cores": 2,
        "threads": 2,
        "versions": {"python": "3.11.2", "onnxruntime": "1.23.2", "torch": None},
    }
    plan = {"warmup": 3, "duration_s": 30.0, "iterations": None, "interleaved": True}
    return Profile(environment, plan, CEILINGS, cases, warnings)


def full_profile() -> Profile:
    """Three bundles, two modes and two sizes, a baseline, qualities and warnings."""
    cases = []
    for area, lr_size in zip((0.25, 1.0), SIZES, strict=True):
        cases += [
            case("carn-x4", "plain", lr_size, 1790 * area, psnr_db=28.06),
            case("carn-pcsr", "k=0", lr_size, 1130 * area, 0.63, 28.05),
            case("carn-pcsr", "ADM", lr_size, 719 * area, 0.4, 27.98),
            case("fsrcnn-pcsr", "ADM", lr_size, 199 * area, 0.11, 27.12),
        ]
    switched = [replace(c, switch_ms=1.2 * c.host_ms.p50) for c in cases]
    switched[2] = replace(switched[2], warnings=("unstable: p99 is 1.8 times the median",))
    return profile(*switched, warnings=("the processor's clock fell by 12 % during the run",))


def gpu_profile() -> Profile:
    """One case on a GPU with 20,000 calls, without anything that may be missing."""
    times = times_of(0.58, 20_000)
    made = case("carn-pcsr", "ADM", (276, 420), 0.58, None)
    on_gpu = replace(
        made,
        device="cuda:0",
        backend="tensorrt",
        precision="fp16",
        passes="triton",
        host_ms=distribution(times),
        device_ms=distribution(0.92 * times),
        h2d_ms=distribution(0.03 * times),
        d2h_ms=distribution(0.09 * times),
        enqueue_ms=distribution(0.2 * times),
        times_ms=tuple(float(value) for value in times),
        pixels_per_upsampler=(100_000, 200_000, 400_000, 1_154_720),
        peak_mib=None,
    )
    whole = profile(on_gpu)
    state = {"clock_mhz": 1980, "power_w": 412.5, "c": None}
    gpu = {"gpu": "A GPU made up for tests", "gpu_state": state}
    ceilings = Ceilings(52_000.0, 3_900.0, 760_000.0)
    return replace(whole, environment={**gpu, **whole.environment}, ceilings=ceilings)


def picture(height: int = 69, width: int = 105) -> np.ndarray:
    """[height,width,3] uint8: smooth, with edges in the middle."""
    rows, columns = np.mgrid[0:height, 0:width]
    waves = 127 + 90 * np.sin(rows / 9) * np.cos(columns / 13)
    edges = 120 * ((rows // 6 + columns // 6) % 2) * (np.abs(columns - width / 2) < width / 5)
    planes = [waves + edges, 0.8 * waves + 20, 200 - 0.5 * waves]
    return np.stack(planes, axis=-1).clip(0, 255).astype(np.uint8)
