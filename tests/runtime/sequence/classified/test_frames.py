"""Pixels whose upsampler is another one far from any change are composed again, one by one; the
frame is that of a call, bit for bit.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pcsr import Upscaler
from pcsr.runtime.cpu import native_pipeline
from pcsr.runtime.cpu.upscaler import HostUpscaler
from pcsr.runtime.routing.request import RoutingRequest
from pcsr.runtime.sequence.calls import Call, Clock
from pcsr.runtime.sequence.pictures import PictureSequence
from tests import checkpoints
from tests.exports import Exports
from tests.runtime.sequence.clips import assert_same, changed, shares, still

Pixels = np.ndarray[Any, Any]
MODES: dict[str, dict[str, Any]] = {
    "adaptive": {"adaptive": True},
    "adaptive, no refinement": {"adaptive": True, "refine": False},
    "share": {"heavy_ratio": 0.3},
}
each_mode = pytest.mark.parametrize("mode", MODES.values(), ids=MODES)


@pytest.fixture(scope="module")
def upscaler(exports: Exports) -> Iterator[Upscaler]:
    with Upscaler(exports.of(checkpoints.tiny("fsrcnn", 2)), threads=2) as opened:
        yield opened


def _clip(shape: tuple[int, ...], dtype: type[np.generic] = np.uint8) -> list[Pixels]:
    """Noise, whose difficulties lie close together. What changes lies in a corner, then on the left
    side: all that lies on the right is far from it.
    """
    random, width = np.random.default_rng(0), shape[1] // 2
    first = random.integers(0, 256, shape).astype(np.uint8)
    small, dark, faint = first.copy(), first.copy(), first.copy()
    small[:2, :2] = 255 - small[:2, :2]
    dark[:, :width] = 0
    faint[:, :width] //= 4
    clip = [first, small, dark, faint, first]
    if dtype is np.float32:
        return [frame.astype(np.float32) / 255 for frame in clip]
    return [frame.astype(dtype) * (257 if dtype is np.uint16 else 1) for frame in clip]


def _checked(
    upscaler: Upscaler,
    clip: list[Pixels],
    scale: float | None = None,
    **mode: Any,  # noqa: ANN401
) -> int:
    """Compares frames with frames alone, and counts pixels of the right third with another
    upsampler than in the frame before.
    """
    assert shares(upscaler, clip, scale, **mode)[0] == 0
    labels = [upscaler(frame, scale, **mode).assignment for frame in clip]
    right = [each[:, -each.shape[1] // 3 :] for each in labels if each is not None]
    return sum(int((a != b).sum()) for a, b in itertools.pairwise(right))


@each_mode
def test_scales(upscaler: Upscaler, mode: dict[str, Any]) -> None:
    clip = _clip((50, 120, 3))
    found = [_checked(upscaler, clip, scale, **mode) for scale in (1, 1.7, 2.5, 4, 9.3)]
    assert sum(count > 0 for count in found) >= 3, found


@each_mode
def test_sizes(upscaler: Upscaler, mode: dict[str, Any]) -> None:
    """More columns than a segment of the passes, few rows."""
    sizes = [(3, 800), (60, 70), (140, 61), (1, 90)]
    found = [_checked(upscaler, _clip((*size, 3)), **mode) for size in sizes]
    assert sum(count > 0 for count in found) >= 2, found


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@each_mode
def test_layouts(upscaler: Upscaler, mode: dict[str, Any], dtype: type[np.generic]) -> None:
    for channels in ((), (1,), (2,), (3,), (4,)):
        clip = _clip((40, 80, *channels), dtype)
        assert _checked(upscaler, clip, **mode) > 0, channels
        if dtype is np.uint16:
            shares(upscaler, [frame.astype(">u2") for frame in clip], **mode)


@each_mode
def test_networks(
    carn_like_bundle: Path,
    three_way_bundle: Path,
    mixed_bundle: Path,
    mode: dict[str, Any],
) -> None:
    """Three upsamplers; four neighbours; some with a base and some without."""
    clip = _clip((50, 120, 3))
    for bundle in (carn_like_bundle, three_way_bundle, mixed_bundle):
        with Upscaler(bundle, threads=2) as upscaler:
            if upscaler.bundle.upsamplers > 1:
                found = [_checked(upscaler, clip, scale, **mode) for scale in (1.7, 4)]
                assert sum(found) > 0, bundle


@each_mode
def test_small_chunks(
    upscaler: Upscaler, mode: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native_pipeline, "PIXELS_PER_CHUNK", 300)
    monkeypatch.setattr("pcsr.runtime.sequence.classified.frames.PIXELS_PER_CHUNK", 300)
    assert _checked(upscaler, _clip((40, 90, 3)), **mode) > 0


@each_mode
def test_one_pixel_after_the_other(upscaler: Upscaler, mode: dict[str, Any]) -> None:
    """What is kept stays exact over many frames."""
    random = np.random.default_rng(0)
    clip = [still((50, 70, 3))]
    for _ in range(20):
        after = clip[-1].copy()
        after[random.integers(50), random.integers(70)] = random.integers(256, size=3)
        clip.append(after)
    found = shares(upscaler, clip, **mode)
    assert min(found[1:]) > 0.5


@each_mode
def test_pixels_that_are_level_with_the_threshold(upscaler: Upscaler, mode: dict[str, Any]) -> None:
    """Flat patches: many pixels have one difficulty, and a share cuts between equal ones."""
    random = np.random.default_rng(0)
    clip = []
    levels = random.integers(0, 256, (5, 8))
    for _ in range(8):
        levels[random.integers(5), random.integers(8)] = random.integers(256)
        frame = levels.repeat(10, axis=0).repeat(10, axis=1).astype(np.uint8)
        clip.append(np.stack([frame] * 3, axis=2))
    clip += [np.full((50, 80, 3), 90, np.uint8), clip[0], np.full((50, 80, 3), 90, np.uint8)]
    shares(upscaler, clip, **mode)
    shares(upscaler, clip, 2, heavy_ratio=0.5)


def test_only_what_is_other_is_composed(upscaler: Upscaler) -> None:
    """A change of two pixels in a corner: what it reaches, and pixels that flip."""
    first = still((120, 160, 3))
    second = changed(first, slice(0, 2), slice(0, 2))
    with upscaler.sequence(adaptive=True) as frames:
        before, after = frames(first), frames(second)
    assert before.assignment is not None
    assert after.assignment is not None
    flips = before.assignment != after.assignment
    halo_px = upscaler.bundle.manifest.model.receptive_radius_px
    assert halo_px is not None
    reached_px = 4 * (8 + halo_px + 2)  # a block, the halo, the bilinear base
    flips[:reached_px, :reached_px] = False
    most = 1 - (reached_px**2 + int(flips.sum())) / flips.size
    assert after.stats.reused_share >= most > 0.9


REQUESTS: list[dict[str, Any]] = [
    {"adaptive": True},
    {"heavy_ratio": 0.3},
    {"heavy_ratio": 0.35},
    {"heavy_ratio": 1.0},
    {"adaptive": True},
    {"heavy_ratio": 0.0},
    {"heavy_ratio": 0.35},
]


@pytest.mark.parametrize("changes", [False, True])
def test_requests_that_change(
    carn_like_bundle: Path, three_way_bundle: Path, changes: bool
) -> None:
    """As those of a budget do from frame to frame, on frames that change or not."""
    clip = _clip((40, 60, 3))
    for bundle in (carn_like_bundle, three_way_bundle):
        with (
            Upscaler(bundle, threads=2) as upscaler,
            upscaler.sequence()._opened.used() as now,
        ):
            assert isinstance(now.executor, HostUpscaler)
            sequence = PictureSequence(now.executor, 0)
            reused = 0.0
            for index, options in enumerate(REQUESTS):
                frame = clip[index % len(clip)] if changes else clip[0]
                request = RoutingRequest(**options, refine=True)
                made, share = sequence.advance(frame, Call(4, request), Clock(None))
                alone = upscaler(frame, 4, refine=True, **options)
                assert made.image.tobytes() == alone.image.tobytes()
                assert made.assignment is not None
                assert alone.assignment is not None
                assert np.array_equal(made.assignment, alone.assignment)
                assert (made.counts, made.threshold) == (
                    alone.stats.pixels_per_upsampler,
                    alone.stats.threshold,
                )
                reused += share
            assert 0.5 < reused < len(REQUESTS)


@each_mode
def test_results_of_any_age_are_held(upscaler: Upscaler, mode: dict[str, Any]) -> None:
    """Pixels that flip lie in the array of the frame before, or in a copy."""
    clip = _clip((60, 90, 3)) * 2
    expected = [upscaler(frame, **mode) for frame in clip]
    for held in (0, 1, 3, 10):
        results: list[Any] = []
        with upscaler.sequence(**mode) as frames:
            for n, frame in enumerate(clip):
                del results[: max(0, len(results) - held)]
                results.append(frames(frame))
                for found, alone in zip(results[::-1], expected[n::-1], strict=False):
                    assert_same(found, alone)
