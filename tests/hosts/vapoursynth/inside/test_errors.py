"""What goes wrong is a vapoursynth.Error that says in one line what to do."""

from collections.abc import Callable
from typing import Any

import pytest
import vapoursynth as vs

from pcsr.vapoursynth import upscale
from pcsr.vapoursynth.formats import refuse_others

from .clips import clip_of, core

RGB = {"format": vs.RGB24, "width": 16, "height": 16, "length": 2}
CLIPS: dict[str, tuple[Callable[[], Any], str]] = {
    "YUV": (
        lambda: core.std.BlankClip(format=vs.YUV420P8),
        "found YUV420P8; convert it first: clip.resize.Bicubic(format=vs.RGBS, matrix_in_s=",
    ),
    "10 bits": (lambda: core.std.BlankClip(format=vs.RGB30), "clip.resize.Point(format=vs.RGB48)"),
    "gray of 10 bits": (
        lambda: core.std.BlankClip(format=vs.GRAY10),
        "clip.resize.Point(format=vs.GRAY16)",
    ),
    "32 bit integers": (lambda: core.std.BlankClip(format=vs.GRAY32), "(format=vs.GRAYS)"),
    "half on the CPU": (
        lambda: core.std.BlankClip(format=vs.RGBH),
        "RGBH is taken on a GPU only; convert it first: clip.resize.Point(format=vs.RGBS)",
    ),
    "size changes": (
        lambda: core.std.Splice(
            [core.std.BlankClip(**RGB), core.std.BlankClip(**RGB | {"width": 32})], mismatch=True
        ),
        "expected a clip of one format and one size",
    ),
    "format changes": (
        lambda: core.std.Splice(
            [core.std.BlankClip(**RGB), core.std.BlankClip(**RGB | {"format": vs.RGBS})],
            mismatch=True,
        ),
        "expected a clip of one format and one size",
    ),
    "audio": (lambda: core.std.BlankAudio(), "expected a clip of video, found a AudioNode"),
    "a number": (lambda: 3, "expected a clip of video, found a int"),
}
OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"scale": 0.5}, "scale must be a number from 1 to 1000, found 0.5"),
    ({"scale": 1000}, "choose a smaller scale"),
    ({"colour": 1}, "unknown option 'colour' (known: device,"),
    ({"adaptive": True, "heavy_ratio": 0.5}, "adaptive and heavy_ratio exclude each other"),
    ({"heavy_ratio": 2}, "heavy_ratio must lie in [0, 1], found 2"),
    ({"budget_ms": 10}, "has no operating point; run pcsr-calibrate"),
    ({"routing_map": 1}, "routing_map must be True or False, found 1"),
    ({"threads": 0}, "threads must be from 1 to"),
    ({"precision": "fp17"}, "fp17"),
    ({"backend": "magic"}, "magic"),
    ({"device": "gpu"}, "gpu"),
    ({"device": 7}, "device must be cpu, cuda or cuda:N, found 7"),
]


@pytest.mark.parametrize("name", CLIPS)
def test_a_clip_that_is_not_taken(shipped: str, name: str) -> None:
    made, expected = CLIPS[name]
    assert expected in _error(lambda: upscale(made(), shipped))


@pytest.mark.parametrize("form", [vs.RGBH, vs.GRAYH], ids=lambda form: form.name)
def test_halves_are_taken_on_a_gpu(form: int) -> None:
    refuse_others(core.std.BlankClip(format=form), "cuda:0")


@pytest.mark.parametrize(("options", "expected"), OPTIONS, ids=str)
def test_a_wrong_option(shipped: str, options: dict[str, Any], expected: str) -> None:
    clip = core.std.BlankClip(**RGB | {"width": 640, "height": 480})
    assert expected in _error(lambda: upscale(clip, shipped, **options))


def test_no_bundle() -> None:
    clip = core.std.BlankClip(**RGB)
    assert "nowhere is not a bundle" in _error(lambda: upscale(clip, "nowhere"))
    assert _error(lambda: upscale(clip, "no\nwhere")).startswith("pcsr: no where is not a bundle")
    assert "bundle must be the path of a bundle" in _error(lambda: upscale(clip, 3))  # type: ignore[call-overload]


def test_a_plain_network_has_no_map(plain: str) -> None:
    clip = core.std.BlankClip(**RGB)
    assert "leave out the map" in _error(lambda: upscale(clip, plain, routing_map=True))


def test_a_budget_that_is_too_small(calibrated: str) -> None:
    clip = core.std.BlankClip(**RGB | {"width": 640, "height": 480})
    assert "budget" in _error(lambda: upscale(clip, calibrated, budget_ms=0.001))


@pytest.mark.parametrize("routing_map", [False, True])
def test_a_frame_that_fails(shipped: str, routing_map: bool) -> None:
    """VapourSynth writes its own trace before what a Python function raised."""
    bright = core.std.BlankClip(format=vs.RGBS, width=16, height=12, length=1, color=[7, 7, 7])
    clip = clip_of(vs.RGBS, (12, 16), 2) + bright + clip_of(vs.RGBS, (12, 16), 1)
    made = upscale(clip, shipped, routing_map=routing_map)
    for each in made if isinstance(made, tuple) else [made]:
        with pytest.raises(vs.Error) as caught:
            each.get_frame(2)
        text = str(caught.value).strip()
        assert text.splitlines()[-1] == (
            "vapoursynth.Error: pcsr: frame 2: the image holds NaN or values beyond -1..2 (found "
            "7..7); expected nominally [0, 1]: divide 0..255 by 255"
        )
        assert text.count("pcsr: frame") == 1
        assert "During handling" not in text
        assert each.get_frame(3).width == 64  # the others come


def test_alpha_of_another_size(shipped: str) -> None:
    alpha = core.std.BlankClip(format=vs.GRAY8, width=8, height=8, length=2)
    clip = core.std.BlankClip(**RGB).std.ClipToProp(alpha)
    with pytest.raises(vs.Error, match="expected an alpha plane of Gray8, 16x16, found Gray8, 8x8"):
        upscale(clip, shipped).get_frame(0)


def _error(call: Callable[[], Any]) -> str:
    with pytest.raises(vs.Error) as caught:
        call()
    text = str(caught.value)
    assert text.startswith("pcsr: ")
    assert "\n" not in text
    assert caught.value.__suppress_context__
    return text
