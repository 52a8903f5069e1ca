"""The frames are those of Upscaler, for every format, scale and way of routing."""

from typing import Any

import numpy as np
import pytest
import vapoursynth as vs

from pcsr import Upscaler
from pcsr.vapoursynth import upscale

from .clips import FORMATS, clip_of, core, image, pixels

WAYS = [{}, {"k": 1.0}, {"adaptive": True}, {"heavy_ratio": 0.3}, {"k": 0.5, "refine": False}]


@pytest.mark.parametrize("size", [(27, 41), (64, 48)])
@pytest.mark.parametrize("scale", [None, 2.5, 4])
@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_every_format(shipped: str, form: int, scale: float | None, size: tuple[int, int]) -> None:
    clip = clip_of(form, size)
    made = upscale(clip, shipped, scale=scale)
    expected = Upscaler(shipped)(image(5, size, clip.format), scale)
    found = made.get_frame(5)
    assert made.format.id == clip.format.id == found.format.id
    assert (made.num_frames, made.fps) == (clip.num_frames, clip.fps)
    assert (made.height, made.width) == expected.image.shape[:2]
    assert np.array_equal(pixels(made, 5), expected.image)
    assert found.props["PCSRHeavyShare"] == expected.stats.heavy_share


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("bundle", ["shipped", "three"])
def test_every_way_of_routing(
    bundle: str, way: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    path = request.getfixturevalue(bundle)
    clip = clip_of(vs.RGB24, (29, 43))
    made, routing = upscale(clip, path, 2.5, routing_map=True, **way)
    expected = Upscaler(path)(image(2, (29, 43), clip.format), 2.5, **way)
    assert expected.assignment is not None
    assert np.array_equal(pixels(made, 2), expected.image)
    steps = np.linspace(255, 0, expected.upsamplers).round()
    assert np.array_equal(pixels(routing, 2), steps[expected.assignment])
    props = made.get_frame(2).props
    assert props["PCSRHeavyShare"] == routing.get_frame(2).props["PCSRHeavyShare"]
    assert props["PCSRHeavyShare"] == expected.stats.heavy_share
    assert props.get("PCSRThreshold") == expected.stats.threshold


def test_some_pixels_are_heavy_and_some_light(shipped: str) -> None:
    made, routing = upscale(clip_of(vs.RGBS, (64, 48)), shipped, routing_map=True)
    assert 0.05 < made.get_frame(0).props["PCSRHeavyShare"] < 0.95
    assert set(np.unique(pixels(routing, 0))) == {0, 255}


@pytest.mark.parametrize("options", [{"preset": "fast"}, {"max_psnr_loss_db": 0.05}], ids=str)
def test_what_was_calibrated(calibrated: str, options: dict[str, Any]) -> None:
    clip = clip_of(vs.RGB24, (30, 40))
    made = upscale(clip, calibrated, **options)
    expected = Upscaler(calibrated)(image(1, (30, 40), clip.format), **options)
    assert np.array_equal(pixels(made, 1), expected.image)


def test_a_budget(calibrated: str) -> None:
    clip = clip_of(vs.RGB24, (30, 40))
    made = upscale(clip, calibrated, budget_ms=10_000)
    expected = Upscaler(calibrated)(image(1, (30, 40), clip.format), budget_ms=10_000)
    assert np.array_equal(pixels(made, 1), expected.image)


@pytest.mark.parametrize("options", [{"backend": "onnxruntime"}, {"threads": 1}, {"tile_px": 16}])
def test_how_it_is_opened(shipped: str, options: dict[str, Any]) -> None:
    clip = clip_of(vs.RGBS, (30, 40))
    expected = Upscaler(shipped, **options)(image(0, (30, 40), clip.format)).image
    assert np.array_equal(pixels(upscale(clip, shipped, **options), 0), expected)


def test_a_plain_network(plain: str) -> None:
    clip = clip_of(vs.RGB24, (30, 40))
    made = upscale(clip, plain)
    assert np.array_equal(pixels(made, 0), Upscaler(plain)(image(0, (30, 40), clip.format)).image)
    assert not [name for name in made.get_frame(0).props if name.startswith("PCSR")]


def test_properties_are_kept(shipped: str) -> None:
    clip = clip_of(vs.RGB24, (9, 7)).std.SetFrameProps(_Range=vs.RANGE_LIMITED, _Matrix=0)
    kept = dict(clip.get_frame(3).props)
    made, routing = upscale(clip, shipped, routing_map=True)
    found = dict(made.get_frame(3).props)
    assert found.pop("PCSRHeavyShare") >= 0
    found.pop("PCSRThreshold", None)
    assert found == kept
    assert kept["_DurationNum"] == 1001
    shown = dict(routing.get_frame(3).props)
    assert (shown["number"], shown["_DurationNum"]) == (3, 1001)
    assert shown["_Range"] == vs.RANGE_FULL
    assert "_Matrix" not in shown


@pytest.mark.parametrize("form", [vs.RGB24, vs.GRAYS], ids=lambda form: form.name)
def test_alpha_is_upscaled_too(shipped: str, form: int) -> None:
    size = (21, 34)
    clip = clip_of(form, size)
    gray = clip_of(clip.format.replace(color_family=vs.GRAY).id, size)
    made = upscale(clip.std.ClipToProp(gray[5] * 8), shipped, scale=2.5)
    planes = [image(0, size, clip.format), image(5, size, gray.format)]
    expected = Upscaler(shipped)(np.dstack(planes), 2.5).image
    assert np.array_equal(np.atleast_3d(pixels(made, 0)), expected[..., :-1])
    assert np.array_equal(pixels(made.std.PropToClip(), 0), expected[..., -1])


def test_a_clip_of_variable_rate(shipped: str) -> None:
    slow, fast = (core.std.AssumeFPS(clip_of(vs.RGB24, (9, 8), 2), fpsnum=n) for n in (24, 50))
    clip = slow + fast
    assert clip.fps == 0
    made = upscale(clip, shipped)
    assert (made.fps, made.num_frames) == (0, 4)
    assert [f.props["_DurationDen"] for f in made.frames()] == [24, 24, 50, 50]


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (33, 2)])
def test_tiny_frames(shipped: str, size: tuple[int, int]) -> None:
    clip = clip_of(vs.RGB24, size)
    expected = Upscaler(shipped)(image(0, size, clip.format), 3.3).image
    assert np.array_equal(pixels(upscale(clip, shipped, 3.3), 0), expected)


@pytest.mark.parametrize("form", [vs.RGBH, vs.GRAYH], ids=lambda form: form.name)
def test_halves(shipped: str, form: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU: computed from float32, and rounded."""
    monkeypatch.setattr("pcsr.vapoursynth.formats._refuse_depth", lambda *_: None)
    clip = clip_of(form, (20, 30))
    whole = image(0, (20, 30), clip.format).astype(np.float16).astype(np.float32)
    expected = Upscaler(shipped)(whole).image.astype(np.float16)
    made = upscale(clip, shipped)
    assert made.format.id == form
    assert np.array_equal(pixels(made, 0), expected.astype(np.float32))
