"""Compares what the library computes with what `Upscaler` does with the same bundle."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from pcsr import Result, Upscaler
from tests import tolerances
from tests.runtime.compare import rerouted_limit
from tests.runtime.reference import neighbourhoods_agree

from .driver import Done, Driver, options_of
from .pixels import Pixels

M_COUNTS_BITS = (0, 2)  # plain networks and two upsamplers: the same operations in the same order
ELSEWHERE = 1e-6  # other numbers of upsamplers: NumPy computes the probabilities
THREADS = 2


@cache
def upscaler_of(bundle: Path, **options: Any) -> Upscaler:  # noqa: ANN401
    """The bundle in Python, as the driver has it."""
    return Upscaler(bundle, backend="native", threads=THREADS, **options)


def random_image(size: tuple[int, int], channels: int = 3, dtype: str = "uint8") -> Pixels:
    """[h, w, channels], smooth enough that pixels differ in difficulty; alpha has holes."""
    rng = np.random.default_rng([*size, channels])
    image = rng.random((*size, channels)) * np.linspace(0.1, 1, size[1])[None, :, None]
    if channels in (2, 4):
        image[..., -1] *= rng.random(size) > 0.3
    if dtype == "float32":
        return image.astype(np.float32)
    return (image * np.iinfo(dtype).max).astype(dtype)


def assert_equal(
    driver: Driver,
    bundle: Path,
    image: Pixels,
    opening: dict[str, Any] | None = None,
    **options: Any,  # noqa: ANN401
) -> tuple[Done, Result]:
    """Both upscale an image [h, w, c]: the same image, routing and figures."""
    opening = opening or {}
    handle = driver.open(bundle, **opening)
    expected = upscaler_of(bundle, **opening)(image, **options)
    is_routed = expected.difficulty is not None
    done = driver.upscaled(handle, image, options_of(**options), maps=is_routed)
    assert done.status == 0, done.message
    assert_results_equal(done, expected, expected.upsamplers if is_routed else 0)
    return done, expected


def assert_results_equal(done: Done, expected: Result, upsamplers: int) -> None:
    """Bit for bit where the same passes run; else as near as float32 sums are."""
    assert done.image.dtype == expected.image.dtype
    assert done.image.shape == expected.image.shape
    same = np.ones(expected.image.shape[:2], bool)
    if upsamplers and done.assignment is not None:
        assert expected.assignment is not None
        assert expected.difficulty is not None
        same = done.assignment == expected.assignment
        gap = np.abs(done.difficulty - expected.difficulty).max()
        assert gap <= (0 if upsamplers in M_COUNTS_BITS else ELSEWHERE), f"difficulty {gap:.2e}"
    if upsamplers in M_COUNTS_BITS:
        assert same.all(), f"{(~same).sum()} pixels are routed differently"
        assert np.array_equal(done.image, expected.image), _worst(done.image, expected.image)
    else:
        assert (~same).sum() <= rerouted_limit(same.size)
        peak = 1 if expected.image.dtype.kind == "f" else 1e6  # a rounded value may be one more
        where = neighbourhoods_agree(same)
        gap = np.abs(done.image.astype(np.float64) - expected.image)[where].max(initial=0)
        assert gap <= ELSEWHERE * peak, f"image {gap:.2e}"
    _compare_figures(done, expected, upsamplers, exact=bool(same.all()))


def _compare_figures(done: Done, expected: Result, upsamplers: int, exact: bool) -> None:
    answer, stats = done.answer, expected.stats
    assert (int(answer["height"]), int(answer["width"])) == stats.hr_size
    assert int(answer["upsamplers"]) == upsamplers
    pixels = [int(count) for count in answer["pixels"].split(",") if count]
    assert len(pixels) == upsamplers
    if exact:
        assert pixels == list(stats.pixels_per_upsampler)
    threshold = float(answer["threshold"])
    if stats.threshold is None:
        assert np.isnan(threshold)
    elif np.isinf(stats.threshold):
        assert np.isinf(threshold)
    else:
        gap = abs(threshold - stats.threshold)
        assert gap <= (tolerances.SIGMOID if exact else ELSEWHERE), f"threshold {gap:.2e}"
    total, summed = float(answer["total_ms"]), float(answer["sum_ms"])
    assert total > 0
    assert abs(total - summed) <= 1e-6 * max(1, total)


def _worst(found: Pixels, expected: Pixels) -> str:
    gap = np.abs(found.astype(np.float64) - expected)
    return f"max {gap.max():.2e} of {(gap > 0).sum()} values"
