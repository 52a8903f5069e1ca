"""pcsr-upscale on videos: frames, timing, sound, containers, statistics."""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pcsr import Upscaler
from pcsr.runtime.files.colour import Colour
from tests.commands import Ended, assert_clean, snapshot, upscale

from .pictures import picture, size_of
from .videos import LARGE, RATE, SIZE, STEP, TIME_BASE, content, video

UNEVEN = [9000, 9900, 12_000, 12_100, 20_000, 47_000, 90_000, 91_000]  # of 8 frames
QUARTER_TURN = [0, 65_536, 0, -65_536, 0, 0, 0, 0, 2**30]  # a display matrix


def assert_done(ended: Ended, files: int = 1) -> None:
    """Success, one line per file on stderr, for several a summary; nothing on stdout."""
    assert ended.code == 0, ended.stderr
    assert_clean(ended)
    assert len(ended.complaints) == files + (files > 1), ended.stderr
    assert files == 1 or ended.complaints[-1].startswith(f"{files} done, 0 failed in ")
    assert ended.stdout == ""


def test_frames_are_what_the_upscaler_makes(carn_like_bundle: Path, tmp_path: Path) -> None:
    source, target = video(tmp_path / "in.mp4", frames=3), tmp_path / "out.mp4"
    ended = upscale(carn_like_bundle, source, target, "--k", 0.3, "--crf", 0)
    assert_done(ended)
    assert "out.mp4: 192x128, " in ended.stderr
    assert "% heavy, 3 frames, " in ended.stderr
    upscaler = Upscaler(carn_like_bundle)
    for before, after in zip(content(source).frames, content(target).frames, strict=True):
        rgb = Colour.of(before).to_rgb(before)
        expected = upscaler(rgb, k=0.3).image.astype(int)
        found = Colour.of(after).to_rgb(after).astype(int)
        assert np.abs(found - expected).mean() < 8, "chroma of noise, halved"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.mp4", "out.mp4"]


@pytest.mark.parametrize("pts", [None, UNEVEN], ids=["even", "uneven"])
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_timing_and_sound_are_kept(
    suffix: str, pts: list[int] | None, carn_like_bundle: Path, tmp_path: Path
) -> None:
    source, target = video(tmp_path / f"in{suffix}", pts=pts), tmp_path / f"out{suffix}"
    assert_done(upscale(carn_like_bundle, source, target))
    before, after = content(source), content(target)
    assert after.size == LARGE
    assert after.times == before.times
    if suffix != ".mkv":  # that keeps milliseconds
        assert after.times == [n * TIME_BASE for n in pts or range(0, 8 * STEP, STEP)]
    assert after.packets == before.packets
    assert len(after.packets[0]) >= 25
    if pts is None:
        assert after.video["rate"] == RATE


@pytest.mark.parametrize(
    ("names", "codec", "audio"),
    [
        (("in.mkv", "out.webm"), "libx264", "libopus"),
        (("in.webm", "out.mkv"), "libvpx-vp9", "libopus"),
        (("in.mp4", "out.mkv"), "libx264", "aac"),
        (("in.avi", "out.mp4"), "mpeg4", "aac"),
        (("in.mp4", "out.mp4"), "libx264", None),
    ],
)
def test_containers(
    names: tuple[str, str], codec: str, audio: str | None, carn_like_bundle: Path, tmp_path: Path
) -> None:
    source, target = video(tmp_path / names[0], 8, audio, codec=codec), tmp_path / names[1]
    assert_done(upscale(carn_like_bundle, source, target))
    before, after = content(source), content(target)
    shift = after.times[0] - before.times[0]  # Matroska has no time before 0; all streams move
    for was, now in zip(before.times, after.times, strict=True):
        assert abs(was + shift - now) <= Fraction(1, 1000)
    for sound, copy in zip(before.packets, after.packets, strict=True):
        assert [data for _, data in copy] == [data for _, data in sound]
        assert abs(sound[0][0] + shift - copy[0][0]) <= Fraction(1, 1000)
    assert after.video["codec"] == ("vp9" if names[1] == "out.webm" else "h264")


def test_subtitles_are_copied_where_they_fit(carn_like_bundle: Path, tmp_path: Path) -> None:
    source = video(tmp_path / "in.mkv", subtitles=True)
    assert_done(upscale(carn_like_bundle, source, tmp_path / "out.mkv"))
    sound, text = content(tmp_path / "out.mkv").packets
    assert sound
    assert text == [(Fraction(1, 10), b"a line of text")]
    ended = upscale(carn_like_bundle, source, tmp_path / "out.mp4")
    assert ended.code == 0
    assert "warning: " in ended.stderr
    assert "left out the subrip subtitles" in ended.stderr
    assert len(content(tmp_path / "out.mp4").packets) == 1


def test_aspect_and_rotation_are_kept(carn_like_bundle: Path, tmp_path: Path) -> None:
    source, target = tmp_path / "in.mp4", tmp_path / "out.mp4"
    video(source, 2, matrix=QUARTER_TURN, sample_aspect_ratio=Fraction(4, 3))
    assert_done(upscale(carn_like_bundle, source, target))
    before, after = content(source), content(target)
    assert (before.video["aspect"], before.frames[0].rotation) == (Fraction(4, 3), -90)
    assert (after.video["aspect"], after.frames[0].rotation) == (Fraction(4, 3), -90)


@pytest.mark.parametrize(("scale", "size"), [(1, (32, 48)), (1.3, (42, 62)), (1.1, (35, 53))])
def test_odd_sizes_have_full_chroma(
    scale: float, size: tuple[int, int], carn_like_bundle: Path, tmp_path: Path
) -> None:
    source, target = video(tmp_path / "in.mp4", 2), tmp_path / "out.mp4"
    assert_done(upscale(carn_like_bundle, source, target, "--scale", scale))
    found = content(target)
    assert found.size == size
    even = not size[0] % 2 and not size[1] % 2
    assert found.frames[0].format.name == ("yuv420p" if even else "yuv444p")


def test_deep_video_and_an_encoder_of_8_bits(carn_like_bundle: Path, tmp_path: Path) -> None:
    source = video(tmp_path / "in.mkv", 2, "libopus", pix_fmt="yuv420p10le")
    assert_done(upscale(carn_like_bundle, source, tmp_path / "out.mkv"))
    assert content(tmp_path / "out.mkv").frames[0].format.name == "yuv420p10le"
    ended = upscale(carn_like_bundle, source, tmp_path / "out.mp4", "--codec", "mpeg4")
    assert ended.code == 0
    assert "warning: " in ended.stderr
    assert "mpeg4 writes 8 bits a sample of 10" in ended.stderr


def test_crf_sets_the_size(carn_like_bundle: Path, tmp_path: Path) -> None:
    source = video(tmp_path / "in.mp4", 2, None)
    sizes = []
    for crf in (10, 40):
        upscale(carn_like_bundle, source, tmp_path / f"{crf}.mp4", "--crf", crf)
        sizes.append((tmp_path / f"{crf}.mp4").stat().st_size)
    assert sizes[0] > 2 * sizes[1]


def test_videos_and_images_into_a_folder(carn_like_bundle: Path, tmp_path: Path) -> None:
    sources = [video(tmp_path / "a.mp4", 2), picture(tmp_path / "b.png")]
    sources += [video(tmp_path / "c.mkv", 2), picture(tmp_path / "d.png")]
    out = tmp_path / "out"
    ended = upscale(carn_like_bundle, *sources, out, "--format", "webp")
    assert_done(ended, files=4)
    assert list(snapshot(out)) == ["a.mp4", "b.webp", "c.mkv", "d.webp"]
    assert content(out / "c.mkv").size == LARGE
    assert size_of(out / "d.webp") == (48, 80)


def test_of_a_folder_only_images_are_taken(carn_like_bundle: Path, tmp_path: Path) -> None:
    video(tmp_path / "album" / "a.mp4", 2)
    picture(tmp_path / "album" / "b.png")
    ended = upscale(carn_like_bundle, tmp_path / "album", tmp_path / "out")
    assert ended.code == 0
    said = "skipped 1 file of another kind: 1 .mp4; name videos to upscale them"
    assert ended.complaints[1] == said
    assert ended.complaints[2].startswith("1 done, 0 failed in ")
    assert list(snapshot(tmp_path / "out")) == ["b.png"]


def record(ended: Ended) -> dict[str, Any]:
    assert ended.code == 0, ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


@pytest.mark.parametrize("options", [["--adaptive"], ["--heavy-ratio", 0.25], ["--no-refine"]])
def test_json(options: list[Any], carn_like_bundle: Path, tmp_path: Path) -> None:
    source, target = video(tmp_path / "in.mp4"), tmp_path / "out.mp4"
    found = record(upscale(carn_like_bundle, source, target, "--json", "-", *options))
    assert (found["input"], found["output"]) == (str(source), str(target))
    assert (found["lr_size"], found["hr_size"], found["frames"]) == ([*SIZE], [*LARGE], 8)
    assert sum(found["pixels_per_upsampler"]) == 8 * LARGE[0] * LARGE[1]
    assert found["heavy_share"] == found["pixels_per_upsampler"][0] / (8 * LARGE[0] * LARGE[1])
    if options[0] == "--heavy-ratio":
        assert found["heavy_share"] == pytest.approx(0.25, abs=1e-3)
    assert found["frame_ms"] > 0
    assert found["fps"] > 0
    assert found["warnings"] == []


def test_plain_bundle(plain_bundle: Path, tmp_path: Path) -> None:
    source, target = video(tmp_path / "in.mp4", 2), tmp_path / "out.mp4"
    found = record(upscale(plain_bundle, source, target, "--json", "-"))
    assert (found["pixels_per_upsampler"], found["heavy_share"]) == ([], 0)
