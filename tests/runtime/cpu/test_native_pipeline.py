"""The native pipeline: tiles, bands, recomputed features and chunks change nothing, bit for bit."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pcsr import Bundle, ImageError
from pcsr.runtime.cpu import native_pipeline, planning
from pcsr.runtime.cpu.native_pipeline import NativePipeline
from pcsr.runtime.cpu.open import open_runner
from pcsr.runtime.cpu.output import ArrayOutput, Rows
from pcsr.runtime.cpu.pipeline import Routed, Runner, Task
from pcsr.runtime.cpu.workers import Workers
from pcsr.runtime.geometry.grid import Floats, hr_size
from pcsr.runtime.process.cancellation import Cancellation
from pcsr.runtime.routing.request import RoutingRequest
from pcsr.runtime.timing import Stopwatch

Size = tuple[int, int]

MODES = {
    "k": RoutingRequest(),
    "k0.5": RoutingRequest(0.5),
    "adaptive": RoutingRequest(adaptive=True),
    "ratio": RoutingRequest(heavy_ratio=0.3),
}
SIZES = [(37, 29), (131, 97)]
each_mode = pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
each_size = pytest.mark.parametrize("size", SIZES)


class Counting:
    """A runner that remembers the sizes of the images it was given."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self.seen: list[Size] = []

    def run_image(
        self,
        role: str,
        image: Floats,
        outputs: Sequence[str],
        cancellation: Cancellation | None = None,
    ) -> list[Floats]:
        self.seen.append((image.shape[2], image.shape[3]))
        return self._runner.run_image(role, image, outputs, cancellation)

    def run_rows(self, role: str, inputs: dict[str, NDArray[Any]]) -> Floats:
        raise AssertionError(f"{role} is compiled")


@dataclass(frozen=True)
class Upscaling:
    """One bundle and its backbone."""

    bundle: Bundle
    runner: Counting
    workers: Workers

    def __call__(
        self,
        size: Size,
        scale: float,
        mode: RoutingRequest,
        refine: bool = True,
        tile_px: int | None = None,
    ) -> tuple[Rows, Routed]:
        image = np.random.default_rng(size).random((1, 3, *size), dtype=np.float32)
        image[..., : size[1] // 2] *= 0.1  # a darker half, so that ADM has something to split

        def read(first: int, stop: int) -> Floats:
            return np.ascontiguousarray(image[:, :, first:stop])

        self.runner.seen.clear()
        pipeline = NativePipeline(self.bundle, self.runner, self.workers, tile_px)
        output = ArrayOutput(Rows.empty(hr_size(size, scale), np.dtype(np.float32)))
        task = Task(size, read, scale, replace(mode, refine=refine))
        return output.whole, pipeline.run(task, output, Stopwatch())


@pytest.fixture(scope="module", params=["carn_like_bundle", "three_way_bundle"])
def upscaling(request: pytest.FixtureRequest) -> Upscaling:
    """M = 2 and 3; their backbones look 19 and 4 pixels around."""
    bundle = Bundle.load(request.getfixturevalue(request.param))
    runner = open_runner("native", bundle, "fp32", threads=2)
    return Upscaling(bundle, Counting(runner), Workers(2))


def _assert_same(found: tuple[Rows, Routed], expected: tuple[Rows, Routed]) -> None:
    for name in ("assignment", "difficulty", "pixels"):
        a, b = getattr(found[0], name), getattr(expected[0], name)
        gap = np.abs(a.astype(np.float64) - b)
        assert np.array_equal(a, b), f"{name}: {(gap > 0).mean():.2%} differ, max {gap.max():.2e}"
    assert found[1].counts.tolist() == expected[1].counts.tolist()
    assert found[1].threshold == expected[1].threshold


@each_mode
@each_size
@pytest.mark.parametrize("tile_px", [16, 24, 37, 64])
def test_square_tiles_are_the_whole_image(
    upscaling: Upscaling, tile_px: int, size: Size, mode: RoutingRequest
) -> None:
    whole = upscaling(size, 2.5, mode)
    assert len(upscaling.runner.seen) == 1
    assert len(np.unique(whole[0].assignment)) > 1
    tiled = upscaling(size, 2.5, mode, tile_px=tile_px)
    assert len(upscaling.runner.seen) > 1 or max(size) <= tile_px
    _assert_same(tiled, whole)


@pytest.mark.parametrize("scale", [1, 1.01, 3, 4.7])
@pytest.mark.parametrize("refine", [False, True])
def test_tiles_at_other_scales(upscaling: Upscaling, scale: float, refine: bool) -> None:
    for mode in MODES.values():
        whole = upscaling((37, 29), scale, mode, refine)
        _assert_same(upscaling((37, 29), scale, mode, refine, tile_px=16), whole)


@pytest.mark.parametrize("size", [(1, 1), (1, 90), (90, 1), (2, 40), (40, 2)])
def test_tiles_of_thin_images(upscaling: Upscaling, size: Size) -> None:
    for mode in MODES.values():
        _assert_same(upscaling(size, 2.5, mode, tile_px=16), upscaling(size, 2.5, mode))


@pytest.mark.parametrize("tile_px", [1, 2, 3])
def test_the_smallest_tiles(upscaling: Upscaling, tile_px: int) -> None:
    for scale in (1, 2):
        whole = upscaling((9, 11), scale, RoutingRequest())
        _assert_same(upscaling((9, 11), scale, RoutingRequest(), tile_px=tile_px), whole)


@each_mode
@pytest.mark.parametrize("crop_pixels", [1, 40 * 40, 60 * 97, 100 * 97])
def test_least_work_bands_are_the_whole_image(
    upscaling: Upscaling, crop_pixels: int, mode: RoutingRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too little memory for the whole image, nor for keeping features."""
    size = (131, 97)
    whole = upscaling(size, 2.5, mode)
    budget = crop_pixels * upscaling.bundle.manifest.model.working_bytes_per_px
    monkeypatch.setattr(planning, "WORKING_BYTES", budget)
    monkeypatch.setattr(planning, "LEAST_TILE_BYTES", budget)
    found = upscaling(size, 2.5, mode)
    assert len(upscaling.runner.seen) > 1
    _assert_same(found, whole)


@pytest.mark.parametrize("name", ["adaptive", "ratio"])
def test_features_are_computed_once_or_twice_with_the_same_result(
    upscaling: Upscaling, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = upscaling((131, 97), 2.5, MODES[name], tile_px=37)
    once = list(upscaling.runner.seen)
    monkeypatch.setattr(planning, "WORKING_BYTES", 0)
    again = upscaling((131, 97), 2.5, MODES[name], tile_px=37)
    assert upscaling.runner.seen == once * 2
    _assert_same(again, kept)


def test_without_statistics_each_tile_is_computed_once(upscaling: Upscaling) -> None:
    upscaling((131, 97), 2.5, RoutingRequest(), tile_px=64)
    assert len(upscaling.runner.seen) == 3 * 2


@each_mode
@pytest.mark.parametrize("chunk", [1, 700])
def test_chunks_of_any_size_are_the_whole_image(
    upscaling: Upscaling, chunk: int, mode: RoutingRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = upscaling((37, 29), 2.5, mode)
    monkeypatch.setattr(native_pipeline, "PIXELS_PER_CHUNK", chunk)
    _assert_same(upscaling((37, 29), 2.5, mode, tile_px=16), whole)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_no_numbers_are_refused(
    upscaling: Upscaling, value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A NaN anywhere reaches the logits, which are looked at."""
    honest = upscaling.runner.run_image

    def spoilt(
        role: str, image: Floats, outputs: Sequence[str], *rest: Cancellation | None
    ) -> list[Floats]:
        features = honest(role, image, outputs, *rest)[0].copy()
        features[0, 0, -1, -1] = value
        features[0, 1, -1, -1] = np.nan
        return [features]

    monkeypatch.setattr(upscaling.runner, "run_image", spoilt)
    for mode in MODES.values():
        with pytest.raises(ImageError, match="the classifier gives NaN or infinite values"):
            upscaling((9, 11), 2.5, mode)


def test_only_features_are_asked_for(upscaling: Upscaling, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, Sequence[str]]] = []
    honest = upscaling.runner.run_image

    def noted(
        role: str, image: Floats, outputs: Sequence[str], *rest: Cancellation | None
    ) -> list[Floats]:
        asked.append((role, tuple(outputs)))
        return honest(role, image, outputs, *rest)

    monkeypatch.setattr(upscaling.runner, "run_image", noted)
    upscaling((37, 29), 2, RoutingRequest(), tile_px=16)
    assert set(asked) == {("backbone", ("features",))}


def test_one_upsampler_in_tiles(single_bundle: Path) -> None:
    bundle = Bundle.load(single_bundle)
    runner = open_runner("native", bundle, "fp32", threads=2)
    upscaling = Upscaling(bundle, Counting(runner), Workers(2))
    whole = upscaling((37, 29), 2.5, RoutingRequest())
    assert (whole[0].difficulty == 1).all()
    assert (whole[0].assignment == 0).all()
    _assert_same(upscaling((37, 29), 2.5, RoutingRequest(), tile_px=16), whole)
