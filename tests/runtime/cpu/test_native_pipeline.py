"""The native pipeline: tiles, bands, recomputed features and chunks change nothing, bit for bit."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pcsr import Bundle, ImageError
from pcsr.runtime.cpu import native_pipeline
from pcsr.runtime.cpu.backend import Backend
from pcsr.runtime.cpu.native_pipeline import NativePipeline
from pcsr.runtime.cpu.open import make_backend
from pcsr.runtime.cpu.output import Arrays, Rows
from pcsr.runtime.cpu.pipeline import Routed, Task
from pcsr.runtime.cpu.workers import Workers
from pcsr.runtime.geometry.grid import Floats, hr_size
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
    """A backend that remembers the sizes of the images it was given."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.seen: list[Size] = []

    def run_image(self, role: str, image: Floats, outputs: Sequence[str]) -> list[Floats]:
        self.seen.append((image.shape[2], image.shape[3]))
        return self._backend.run_image(role, image, outputs)

    def run_rows(self, role: str, inputs: dict[str, NDArray[Any]]) -> Floats:
        raise AssertionError(f"{role} is compiled")


@dataclass(frozen=True)
class Runner:
    """One bundle and its backbone."""

    bundle: Bundle
    backend: Counting
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

        self.backend.seen.clear()
        pipeline = NativePipeline(self.bundle, self.backend, self.workers, tile_px)
        output = Arrays(hr_size(size, scale), np.dtype(np.float32))
        task = Task(size, read, scale, replace(mode, refine=refine))
        return output.whole, pipeline.run(task, output, Stopwatch())


@pytest.fixture(scope="module", params=["carn_like_bundle", "three_way_bundle"])
def runner(request: pytest.FixtureRequest) -> Runner:
    """M = 2 and 3; their backbones look 19 and 4 pixels around."""
    bundle = Bundle.load(request.getfixturevalue(request.param))
    backend = make_backend("native", bundle, "cpu", "fp32", threads=2)
    return Runner(bundle, Counting(backend), Workers(2))


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
    runner: Runner, tile_px: int, size: Size, mode: RoutingRequest
) -> None:
    whole = runner(size, 2.5, mode)
    assert len(runner.backend.seen) == 1
    assert len(np.unique(whole[0].assignment)) > 1
    tiled = runner(size, 2.5, mode, tile_px=tile_px)
    assert len(runner.backend.seen) > 1 or max(size) <= tile_px
    _assert_same(tiled, whole)


@pytest.mark.parametrize("scale", [1, 1.01, 3, 4.7])
@pytest.mark.parametrize("refine", [False, True])
def test_tiles_at_other_scales(runner: Runner, scale: float, refine: bool) -> None:
    for mode in MODES.values():
        whole = runner((37, 29), scale, mode, refine)
        _assert_same(runner((37, 29), scale, mode, refine, tile_px=16), whole)


@pytest.mark.parametrize("size", [(1, 1), (1, 90), (90, 1), (2, 40), (40, 2)])
def test_tiles_of_thin_images(runner: Runner, size: Size) -> None:
    for mode in MODES.values():
        _assert_same(runner(size, 2.5, mode, tile_px=16), runner(size, 2.5, mode))


@pytest.mark.parametrize("tile_px", [1, 2, 3])
def test_the_smallest_tiles(runner: Runner, tile_px: int) -> None:
    for scale in (1, 2):
        whole = runner((9, 11), scale, RoutingRequest())
        _assert_same(runner((9, 11), scale, RoutingRequest(), tile_px=tile_px), whole)


@each_mode
@pytest.mark.parametrize("crop_pixels", [1, 40 * 40, 60 * 97, 100 * 97])
def test_thrifty_bands_are_the_whole_image(
    runner: Runner, crop_pixels: int, mode: RoutingRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too little memory for the whole image, nor for keeping features."""
    size = (131, 97)
    whole = runner(size, 2.5, mode)
    budget = crop_pixels * runner.bundle.manifest.model.working_bytes_per_px
    monkeypatch.setattr(native_pipeline, "WORKING_BYTES", budget)
    monkeypatch.setattr(native_pipeline, "LEAST_TILE_BYTES", budget)
    found = runner(size, 2.5, mode)
    assert len(runner.backend.seen) > 1
    _assert_same(found, whole)


@pytest.mark.parametrize("name", ["adaptive", "ratio"])
def test_features_are_computed_once_or_twice_with_the_same_result(
    runner: Runner, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = runner((131, 97), 2.5, MODES[name], tile_px=37)
    once = list(runner.backend.seen)
    monkeypatch.setattr(native_pipeline, "WORKING_BYTES", 0)
    again = runner((131, 97), 2.5, MODES[name], tile_px=37)
    assert runner.backend.seen == once * 2
    _assert_same(again, kept)


def test_without_statistics_each_tile_is_computed_once(runner: Runner) -> None:
    runner((131, 97), 2.5, RoutingRequest(), tile_px=64)
    assert len(runner.backend.seen) == 3 * 2


@each_mode
@pytest.mark.parametrize("chunk", [1, 700])
def test_chunks_of_any_size_are_the_whole_image(
    runner: Runner, chunk: int, mode: RoutingRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = runner((37, 29), 2.5, mode)
    monkeypatch.setattr(native_pipeline, "PIXELS_PER_CHUNK", chunk)
    _assert_same(runner((37, 29), 2.5, mode, tile_px=16), whole)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_no_numbers_are_refused(
    runner: Runner, value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A NaN anywhere reaches the logits, which are looked at."""
    honest = runner.backend.run_image

    def spoilt(role: str, image: Floats, outputs: Sequence[str]) -> list[Floats]:
        features = honest(role, image, outputs)[0].copy()
        features[0, 0, -1, -1] = value
        features[0, 1, -1, -1] = np.nan
        return [features]

    monkeypatch.setattr(runner.backend, "run_image", spoilt)
    for mode in MODES.values():
        with pytest.raises(ImageError, match="the classifier gives NaN or infinite values"):
            runner((9, 11), 2.5, mode)


def test_only_features_are_asked_for(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, Sequence[str]]] = []
    honest = runner.backend.run_image

    def noted(role: str, image: Floats, outputs: Sequence[str]) -> list[Floats]:
        asked.append((role, tuple(outputs)))
        return honest(role, image, outputs)

    monkeypatch.setattr(runner.backend, "run_image", noted)
    runner((37, 29), 2, RoutingRequest(), tile_px=16)
    assert set(asked) == {("backbone", ("features",))}


def test_one_upsampler_in_tiles(single_bundle: Path) -> None:
    bundle = Bundle.load(single_bundle)
    backend = make_backend("native", bundle, "cpu", "fp32", threads=2)
    runner = Runner(bundle, Counting(backend), Workers(2))
    whole = runner((37, 29), 2.5, RoutingRequest())
    assert (whole[0].difficulty == 1).all()
    assert (whole[0].assignment == 0).all()
    _assert_same(runner((37, 29), 2.5, RoutingRequest(), tile_px=16), whole)
