"""pcsr-upscale refuses bad videos in one line each, and leaves nothing half-written."""

import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import pytest

from tests.commands import assert_clean, assert_refused, end, snapshot, start, upscale

from .pictures import picture
from .test_process import little_room, wait_for
from .videos import LARGE, SIZE, add_tone, content, video


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A good video, in a folder of its own."""
    return video(tmp_path / "inputs" / "in.mp4")


@pytest.fixture
def out(tmp_path: Path) -> Iterator[Path]:
    """A folder for results; after the test it must hold no temporary file."""
    (tmp_path / "out").mkdir()
    yield tmp_path / "out"
    assert not [name for name in snapshot(tmp_path) if Path(name).name.startswith(".")]


# Inputs


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_truncated(
    suffix: str, share: float, carn_like_bundle: Path, out: Path, tmp_path: Path
) -> None:
    path = video(tmp_path / f"in{suffix}", 40, None)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    ended = upscale(carn_like_bundle, path, out / "out.mp4")
    assert_refused(ended, 1, f"cannot read .*in{suffix}: .*(damaged|incomplete|Invalid data).*;")
    assert snapshot(out) == {}


def test_damaged_in_the_middle(carn_like_bundle: Path, source: Path, out: Path) -> None:
    content_ = bytearray(source.read_bytes())
    middle = len(content_) // 2
    content_[middle : middle + 2000] = bytes(2000)
    source.write_bytes(content_)
    ended = upscale(carn_like_bundle, source, out / "out.mp4")
    assert_refused(ended, 1, "cannot read .*in.mp4: .*;")
    assert snapshot(out) == {}


@pytest.mark.parametrize("content_", [b"", b"no video\n" * 99], ids=["empty", "text"])
def test_no_video_at_all(content_: bytes, carn_like_bundle: Path, out: Path, source: Path) -> None:
    source.write_bytes(content_)
    ended = upscale(carn_like_bundle, source, out / "out.mp4")
    assert_refused(ended, 1, "cannot read .*in.mp4: .*; name a video")
    assert snapshot(out) == {}


def test_only_sound(carn_like_bundle: Path, out: Path, tmp_path: Path) -> None:
    path = tmp_path / "in.mp4"
    with av.open(str(path), "w") as file:
        stream: Any = file.add_stream("aac", rate=48_000)
        add_tone(file, stream)
    ended = upscale(carn_like_bundle, path, out / "out.mp4")
    assert_refused(ended, 1, "cannot read .*in.mp4: there is no video stream in it; name a video")


def test_bad_video_among_good_ones(carn_like_bundle: Path, source: Path, out: Path) -> None:
    sources = [source, source.with_name("b.mp4"), video(source.with_name("c.mp4"), 2)]
    sources[1].write_bytes(source.read_bytes()[:3000])
    ended = upscale(carn_like_bundle, *sources, out)
    assert ended.code == 1
    assert_clean(ended)
    assert ["error: " in line for line in ended.complaints] == [False, True, False, False]
    assert ended.complaints[3].startswith("2 done, 1 failed in ")
    assert list(snapshot(out)) == ["c.mp4", "in.mp4"]


def test_own_limit_of_pixels(carn_like_bundle: Path, source: Path, out: Path) -> None:
    pixels = SIZE[0] * SIZE[1]
    ended = upscale(carn_like_bundle, source, out / "o.mp4", "--max-pixels", pixels - 1)
    assert_refused(ended, 1, f"at most {pixels - 1} pixels a frame, found .*; raise --max-pixels")
    ended = upscale(carn_like_bundle, source, out / "sub" / "o.mp4", "--scale", 900)
    assert_refused(ended, 1, "in.mp4 would become .*smaller --scale")
    assert snapshot(out) == {}


# Outputs


def test_existing_output(carn_like_bundle: Path, source: Path, out: Path) -> None:
    target = out / "out.mp4"
    target.write_bytes(b"precious")
    assert_refused(upscale(carn_like_bundle, source, target), 1, "out.mp4 exists; pass --overwrite")
    assert target.read_bytes() == b"precious"
    assert upscale(carn_like_bundle, source, target, "--overwrite").code == 0
    assert content(target).size == LARGE


def test_the_input_is_never_replaced(carn_like_bundle: Path, source: Path) -> None:
    before = snapshot(source.parent)
    for output in (source, source.parent):
        ended = upscale(carn_like_bundle, source, output, "--overwrite")
        assert_refused(ended, 2, "is one of the inputs; choose another output")
    assert snapshot(source.parent) == before


WRONG: dict[str, tuple[str, list[Any], int, str]] = {
    "image": ("out.png", [], 2, "cannot write .*out.png: expected one of .mp4 .mkv .mov .webm"),
    "avi": ("out.avi", [], 2, "cannot write .*out.avi: expected one of .mp4"),
    "overlay": ("o.mp4", ["--overlay", "o.png"], 2, "no overlay is drawn for a video"),
    "sound": ("out.webm", [], 1, "out.webm: .webm holds no aac; write .mp4 or .mov or .mkv"),
    "codec": ("out.webm", ["--codec", "libx264"], 1, "webm holds no libx264; write .mp4"),
    "no-codec": ("out.mp4", ["--codec", "magic"], 3, "no encoder 'magic'; choose another --codec"),
    "audio-codec": ("out.mp4", ["--codec", "aac"], 3, "aac encodes audio, expected one for video"),
    "no-crf": ("out.mp4", ["--codec", "mpeg4", "--crf", 3], 1, "mpeg4 has no --crf; leave it out"),
    "crf": ("out.mp4", ["--crf", 99], 2, "99.* is not in the range"),
    "size": ("out.mp4", ["--codec", "mpeg4", "--scale", 1.1], 1, "53x35 frames; choose a --scale"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_written(case: str, carn_like_bundle: Path, source: Path, out: Path) -> None:
    name, options, code, pattern = WRONG[case]
    assert_refused(upscale(carn_like_bundle, source, out / name, *options), code, pattern)
    assert snapshot(out) == {}


def test_an_image_is_no_video(carn_like_bundle: Path, out: Path, tmp_path: Path) -> None:
    ended = upscale(carn_like_bundle, picture(tmp_path / "in.png"), out / "out.mp4")
    assert_refused(ended, 2, "cannot write .*out.mp4: expected one of .png")


def test_without_pyav(
    carn_like_bundle: Path, source: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("colour", "video_source", "video_target"):
        monkeypatch.delitem(sys.modules, f"pcsr.runtime.files.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "av", None)
    ended = upscale(carn_like_bundle, source, out / "out.mp4")
    assert_refused(ended, 3, r"needs av, .*pip install 'pcsr\[video\]'")
    assert upscale(carn_like_bundle, picture(source.with_name("a.png")), out / "a.png").code == 0


# As a process


@pytest.mark.skipif(sys.platform != "linux", reason="signals and limits of Linux")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(number: int, carn_like_bundle: Path, out: Path, tmp_path: Path) -> None:
    source = video(tmp_path / "in.mp4", 60, size=(120, 160))
    (out / "out.mp4").write_bytes(b"precious")
    process = start("pcsr-upscale", carn_like_bundle, source, out / "out.mp4", "--overwrite")
    wait_for(lambda: len(snapshot(out)) > 1)
    process.send_signal(number)
    ended = end(process, timeout_s=20)
    assert_clean(ended)
    assert ended.code == 130
    assert ended.complaints == ["interrupted; nothing half-written was left behind"]
    assert snapshot(out) == {"out.mp4": b"precious"}


@pytest.mark.skipif(sys.platform != "linux", reason="signals and limits of Linux")
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_limit_of_a_file(suffix: str, carn_like_bundle: Path, source: Path, out: Path) -> None:
    target = out / f"out{suffix}"
    process = start("pcsr-upscale", carn_like_bundle, source, target, preexec_fn=little_room)
    assert_refused(end(process), 1, f"cannot write .*out{suffix}: File too large")
    assert snapshot(out) == {}
