"""Sequences in bf16 are calls in bf16, bit for bit, by each engine that computes backbones."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pcsr import Upscaler
from pcsr.runtime.cpu import native_pipeline, planning
from pcsr.runtime.cpu.candidates.choice import OPENVINO
from pcsr.runtime.machine import cpu_flags
from tests import checkpoints
from tests.exports import Exports
from tests.runtime.cpu.bf16 import ENGINES, has_openvino, opened_with, passed

from .clips import Pixels, assert_same, changed, shares, still

MODES: dict[str, dict[str, Any]] = {
    "k": {"k": 0.3},
    "adaptive": {"adaptive": True},
    "share, no refinement": {"heavy_ratio": 0.3, "refine": False},
}
each_mode = pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
PLACES = [((61, 83), None), ((37, 201), 2.5), ((96, 64), None)]
BUNDLES = ["fsrcnn", "carn_like_bundle", "three_way_bundle", "liif_bundle"]


def clip(height: int, width: int) -> list[Pixels]:
    """Frames of which 0, about 5, 50 and 100 % changed since the one before."""
    first = still((height, width, 3))
    few = changed(first, slice(3, 3 + height // 4), slice(0, width // 5), 1)
    half = changed(few, slice(height - height // 2, height), slice(0, width), 2)
    everything = changed(half, slice(0, height), slice(0, width), 3)
    return [first, first.copy(), few, half, everything, everything.copy()]


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def reuses(engine: str) -> bool:
    """Tells whether parts of a frame are exact: with AMX, OpenVINO's were not tested."""
    return engine != OPENVINO or "amx_bf16" not in cpu_flags()


@pytest.fixture(scope="module", params=BUNDLES)
def upscaler(
    engine: str,
    request: pytest.FixtureRequest,
    exports: Exports,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Upscaler]:
    folder = tmp_path_factory.mktemp("bf16")
    if request.param == "fsrcnn":
        bundle = exports.of(checkpoints.tiny("fsrcnn", 2))
    else:
        bundle = request.getfixturevalue(request.param)
    with opened_with(engine, passed(bundle, folder), 2, folder) as opened:
        yield opened


@each_mode
@pytest.mark.parametrize(("size", "scale"), PLACES)
def test_what_changed_of_a_frame(
    upscaler: Upscaler,
    engine: str,
    mode: dict[str, Any],
    size: tuple[int, int],
    scale: float | None,
) -> None:
    options = mode if upscaler.bundle.upsamplers > 1 else {}
    found = shares(upscaler, clip(*size), scale, **options)
    assert [found[0], found[1], found[4], found[5]] == [0, 1, 0, 1]
    if upscaler.bundle.manifest.model.backbone == "fsrcnn" and reuses(engine):
        assert 0 < found[3] < found[2] < 1


@settings(deadline=None, max_examples=25, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_random_rectangles(upscaler: Upscaler, data: st.DataObject) -> None:
    several = upscaler.bundle.upsamplers > 1
    mode = MODES[data.draw(st.sampled_from(list(MODES)))] if several else {}
    height, width = data.draw(st.integers(1, 70)), data.draw(st.integers(1, 90))
    frames = [still((height, width, 3))]
    for seed in range(data.draw(st.integers(1, 3))):
        top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
        rows = slice(top, data.draw(st.integers(top + 1, height)))
        columns = slice(left, data.draw(st.integers(left + 1, width)))
        frames.append(changed(frames[-1], rows, columns, seed))
    shares(upscaler, frames, data.draw(st.sampled_from([None, 1.7, 2, 3])), **mode)


@each_mode
def test_small_tiles(
    upscaler: Upscaler, mode: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What changed is cut into pieces that fit memory, and so is the frame alone."""
    monkeypatch.setattr(planning, "TILE_BYTES", 2**20)
    monkeypatch.setattr(native_pipeline, "PIXELS_PER_CHUNK", 512)
    shares(upscaler, clip(90, 140), **(mode if upscaler.bundle.upsamplers > 1 else {}))


def test_the_number_of_threads_does_not_matter(
    engine: str, carn_like_bundle: Path, tmp_path: Path
) -> None:
    bundle = passed(carn_like_bundle, tmp_path)
    with (
        opened_with(engine, bundle, 1, tmp_path / "1") as alone,
        opened_with(engine, bundle, 3, tmp_path / "3") as several,
    ):
        for mode in MODES.values():
            with several.sequence(**mode) as frames:
                for frame in clip(61, 83):
                    assert_same(frames(frame), alone(frame, **mode))


@has_openvino
@pytest.mark.parametrize("shape", [(61, 83, 3), (40, 56), (37, 41, 4)])
def test_plain_networks(exports: Exports, tmp_path: Path, shape: tuple[int, ...]) -> None:
    bundle = passed(exports.of(checkpoints.plain_checkpoint("carn")), tmp_path)
    first = still(shape)
    frames = [first, first, changed(first, slice(0, 3), slice(0, 4)), first]
    with opened_with(OPENVINO, bundle, 2, tmp_path) as upscaler:
        assert shares(upscaler, frames)[:2] == [0, 1]


@has_openvino
def test_a_deconvolution_in_openvino_computes_whole_frames(
    plain_bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its results depend on how an image is cut; what equals the frame before is still reused."""
    caplog.set_level("INFO", "pcsr.upscaler")
    first = still()
    frames = [first, first, changed(first, slice(0, 3), slice(0, 4)), first]
    with opened_with(OPENVINO, passed(plain_bundle, tmp_path), 2, tmp_path) as upscaler:
        assert shares(upscaler, frames) == [0, 1, 0, 0]
    assert [line for line in caplog.messages if "reused" in line] == [
        "only frames that are the one before are reused: parts of a frame are not computed exactly "
        "in this precision"
    ]
