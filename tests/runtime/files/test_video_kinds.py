"""Videos of all kinds: what their containers, their sound and their names do to the result."""

import io
import os
import re
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from pcsr.errors import BackendError, ImageError, OutputError
from pcsr.runtime.files import video as files
from pcsr.runtime.files.video import Encoding, VideoStats, check_encoder, open_video, upscale_video
from pcsr.runtime.files.video_encoder import encoder_options, open_encoder
from tests.commands import assert_refused, upscale

from .pictures import colours
from .test_colour import Twice
from .videos import SIZE, add_tone, content, video, write


def converted(source: Path, target: Path, codec: str | None = None) -> VideoStats:
    """Doubles a video."""
    with open_video(source, 10**6) as opened:
        size = (2 * opened.size[0], 2 * opened.size[1])
        return upscale_video(opened, target, size, Twice(), Encoding(codec))


KINDS = {
    ".m4v": ("mp4", "libx264", "aac"),
    ".3gp": ("3gp", "libx264", "aac"),
    ".ts": ("mpegts", "libx264", "aac"),
    ".m2ts": ("mpegts", "mpeg2video", "mp2"),
    ".mpg": ("mpeg", "mpeg1video", "mp2"),
    ".vob": ("vob", "mpeg2video", "ac3"),
    ".flv": ("flv", "libx264", "aac"),
    ".wmv": ("asf", "msmpeg4", "mp2"),
    ".mkv": ("avi", "mpeg4", "mp2"),  # the content counts
}


def made(path: Path, container: str, codec: str, audio: str | None, frames: int = 8) -> Path:
    """A video of a container that its name does not say, of 25 frames a second."""
    with av.open(path.open("wb"), "w", format=container) as file:
        stream: Any = file.add_stream(codec, rate=25)
        stream.height, stream.width = SIZE
        stream.pix_fmt = "yuv420p"
        tone: Any = file.add_stream(audio, rate=48_000, bit_rate=128_000) if audio else None
        for seed in range(frames):
            frame = av.VideoFrame.from_ndarray(colours(SIZE, seed)).reformat(format="yuv420p")
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
        if tone:
            add_tone(file, tone)
    return path


@pytest.mark.parametrize("suffix", KINDS)
def test_containers_that_are_read(suffix: str, tmp_path: Path) -> None:
    source = made(tmp_path / f"in{suffix}", *KINDS[suffix])
    stats = converted(source, tmp_path / "out.mp4")
    found = content(tmp_path / "out.mp4")
    assert (stats.frames, stats.warnings) == (8, ())
    steps = np.diff([float(time) for time in found.times])
    np.testing.assert_allclose(steps, 0.04, atol=0.0011)  # FLV counts milliseconds
    assert len(found.packets[0]) >= 15


def test_another_kind_is_blamed_on_the_input(carn_like_bundle: Path, tmp_path: Path) -> None:
    source = video(tmp_path / "in.mp4", 1).rename(tmp_path / "in.dat")
    ended = upscale(carn_like_bundle, source, tmp_path / "out.mp4")
    assert_refused(ended, 2, r"cannot read .*in.dat as a video: expected one of .mp4 .*ffmpeg -i")


def test_sound_for_another_container(tmp_path: Path) -> None:
    made(tmp_path / "in.avi", "avi", "mpeg4", "pcm_s16le")
    with pytest.raises(OutputError, match=r"\.webm holds no pcm_s16le; write .*\.mkv"):
        converted(tmp_path / "in.avi", tmp_path / "out.webm")
    assert [path.name for path in tmp_path.iterdir()] == ["in.avi"]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".webm"])
def test_sound_that_no_container_holds_is_encoded_anew(suffix: str, tmp_path: Path) -> None:
    made(tmp_path / "in.avi", "avi", "mpeg4", "wmav2")
    codec = "libopus" if suffix == ".webm" else "aac"
    stats = converted(tmp_path / "in.avi", tmp_path / f"out{suffix}")
    assert stats.warnings == (f"encoded its wmav2 sound anew, as {codec}",)
    with av.open(str(tmp_path / f"out{suffix}")) as file:
        heard = np.concatenate([f.to_ndarray()[0] for f in file.decode(audio=0)])
    assert 0.4 < heard.size / 48_000 < 0.7
    assert 0.2 < np.abs(heard[4800:9600]).max() < 0.3, "the tone has a quarter of the peak"


def test_sound_that_mp4_does_not_hold_names_mkv(tmp_path: Path) -> None:
    made(tmp_path / "in.mkv", "matroska", "libx264", "wavpack")
    with pytest.raises(OutputError, match=r"\.mp4 holds no wavpack; write \.mkv"):
        converted(tmp_path / "in.mkv", tmp_path / "out.mp4")


@pytest.mark.parametrize("codec", ["h264_nvenc", "hevc_amf", "h264_v4l2m2m", "av1_qsv"])
def test_an_encoder_without_its_device(codec: str) -> None:
    pattern = f"{codec} cannot be opened on this machine \\(.+\\)|no encoder '{codec}'"
    try:
        check_encoder(Path("out.mp4"), codec)
    except BackendError as error:
        found = error
    else:
        pytest.skip(f"this machine has the device of {codec}")
    assert re.search(pattern, str(found))
    assert found.exit_code == 3


@pytest.mark.parametrize(
    ("codec", "suffix", "pattern"),
    [
        ("prores_ks", ".mp4", r"\.mp4 holds no prores_ks; write \.mov or \.mkv"),
        ("qtrle", ".mkv", r"\.mkv holds no qtrle; write \.mov"),
        ("flv", ".mp4", r"\.mp4 holds no flv; choose another --codec"),
        ("gif", ".mkv", "gif takes no 96x64 frames; choose another --codec"),
    ],
)
def test_a_codec_for_another_container(
    codec: str, suffix: str, pattern: str, tmp_path: Path
) -> None:
    source = video(tmp_path / "in.mp4", 2, None)
    with pytest.raises(OutputError, match=pattern):
        converted(source, tmp_path / f"out{suffix}", codec)


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = video(tmp_path / "in.mp4", 2, None)
    monkeypatch.setattr(Path, "open", lambda *_: io.BufferedWriter(_Full()))
    with pytest.raises(OutputError, match=r"out\.mp4: the disk is full; make room"):
        converted(source, tmp_path / "out.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


class _Full(io.RawIOBase):
    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, _: int = 0) -> int:
        return offset

    def tell(self) -> int:
        return 0

    def write(self, _: object) -> int:
        raise OSError(28, os.strerror(28))


@pytest.mark.parametrize("codec", ["libx265", "libsvtav1", "libvpx-vp9", "mpeg4"])
def test_encoders_are_quiet(codec: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source = video(tmp_path / "in.mkv", 2, None, size=(64, 64))
    try:
        check_encoder(tmp_path / "out.mkv", codec)
    except BackendError:
        pytest.skip(f"this PyAV has no {codec}")
    capfd.readouterr()
    converted(source, tmp_path / "out.mkv", codec)
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="needs Linux")
def test_an_encoder_takes_no_core_from_others(tmp_path: Path) -> None:
    """SVT-AV1 gives root's threads, and the caller's own, real-time priority."""
    check_encoder(tmp_path / "out.mkv", "libsvtav1")
    context: Any = av.CodecContext.create("libsvtav1", "w")
    context.width, context.height, context.pix_fmt = 64, 64, "yuv420p"
    context.framerate, context.time_base = Fraction(25), Fraction(1, 25)
    open_encoder(context, av.Codec("libsvtav1", "w"), tmp_path / "out.mkv")
    tasks = Path("/proc/self/task").iterdir()
    assert {os.sched_getscheduler(int(task.name)) for task in tasks} == {os.SCHED_OTHER}


# Streams


def test_the_second_video_stream_may_be_longer(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "in.mp4"), "w") as file:
        streams: list[Any] = [file.add_stream("libx264", rate=25) for _ in range(2)]
        for stream, size in zip(streams, ((32, 48), (64, 96)), strict=True):
            stream.height, stream.width = size
            stream.pix_fmt = "yuv420p"
        for stream, frames in zip(streams, (5, 50), strict=True):
            for seed in range(frames):
                frame = av.VideoFrame.from_ndarray(colours((stream.height, stream.width), seed))
                file.mux(stream.encode(frame.reformat(format="yuv420p")))
            file.mux(stream.encode())
    stats = converted(tmp_path / "in.mp4", tmp_path / "out.mp4")
    assert (stats.frames, stats.lr_size) == (5, (32, 48))
    assert stats.warnings == ("left out its other video streams",)


def test_long_sound_and_late_subtitles(tmp_path: Path) -> None:
    source = video(tmp_path / "in.mkv", 2, "libopus", subtitles=True)  # 0.07, 0.5 and 0.3 s
    stats = converted(source, tmp_path / "out.mkv")
    assert (stats.frames, stats.warnings) == (2, ())
    assert [len(packets) for packets in content(tmp_path / "out.mkv").packets] == [26, 1]


# Files


NAMES = ["12:30.mp4", "file:in.mp4", "-in.mp4", "%d.mp4", "a|b.mp4", "concat:in.mp4", "pipe:1.mp4"]


@pytest.mark.parametrize("name", NAMES)
def test_names_are_no_addresses(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    video(Path("in.mp4"), 1, None, size=(16, 16))  # what another reading of the name would open
    video(Path(name), 3, None)
    assert converted(Path(name), Path(f"out:{name}")).lr_size == SIZE
    assert len(content(Path(f"out:{name}")).frames) == 3


SCRIPTS = {
    "concat": "ffconcat version 1.0\nfile in.mp4\n",
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nin.mp4\n#EXT-X-ENDLIST\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
    "m=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    'profiles="urn:mpeg:dash:profile:isoff-on-demand:2011" mediaPresentationDuration="PT1S">'
    '<Period><AdaptationSet><Representation id="1" bandwidth="1"><BaseURL>in.mp4</BaseURL>'
    "</Representation></AdaptationSet></Period></MPD>",
}


@pytest.mark.parametrize("kind", SCRIPTS)
def test_a_script_opens_no_other_file(kind: str, tmp_path: Path) -> None:
    video(tmp_path / "in.mp4", 2, None)
    (tmp_path / "list.mp4").write_text(SCRIPTS[kind])
    with pytest.raises(ImageError, match=r"list.mp4: expected a video \(.*another kind of file"):
        open_video(tmp_path / "list.mp4", 10**6)


def test_a_reference_to_another_file_is_not_followed(tmp_path: Path) -> None:
    source = video(tmp_path / "in.mov", 3, None)
    data = source.read_bytes()
    alias = b"\x00\x00\x00\x0calis\x00\x00\x00\x01"
    assert alias in data or b"url \x00\x00\x00\x01" in data
    source.write_bytes(data.replace(alias, alias[:-1] + b"\x00"))
    with open_video(source, 10**6) as opened:
        assert len([chunk for chunk in opened.chunks() if chunk.pixels is not None]) == 3


@pytest.mark.skipif(os.name != "posix", reason="pipes and devices of POSIX")
def test_what_is_no_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "in.mp4")
    for path in (tmp_path / "in.mp4", Path("/dev/zero")):
        with pytest.raises(ImageError, match="it is no regular file; copy the video into one"):
            open_video(path, 10**6)
    with pytest.raises(ImageError, match="directory"):
        open_video(tmp_path, 10**6)
    with pytest.raises(ImageError, match="File name too long"):
        open_video(tmp_path / f"{'x' * 300}.mp4", 10**6)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_changed_bytes_are_refused_or_survived(suffix: str, tmp_path: Path) -> None:
    container, codec = (None, "libx264") if suffix != ".avi" else ("avi", "mpeg4")
    source = tmp_path / f"in{suffix}"
    if container:
        made(source, container, codec, None, 3)
    else:
        video(source, 3, None)
    data, rng = source.read_bytes(), np.random.default_rng(0)
    for _ in range(40):
        changed = np.frombuffer(data, np.uint8).copy()
        where = rng.integers(0, min(len(data), 1500), size=3)
        changed[where] = rng.integers(0, 256, size=3)
        source.write_bytes(changed.tobytes())
        with suppress(ImageError), open_video(source, 10**5) as opened:
            for chunk in opened.chunks():
                assert chunk.pixels is None or chunk.pixels.size <= 3 * 10**5


def test_suffixes_that_are_read_and_written() -> None:
    assert set(files.WRITTEN) < set(files.READ)


def test_gray_of_limited_range(tmp_path: Path) -> None:
    """libswscale takes all gray for full range; black and white must stay so."""
    frame = av.VideoFrame(32, 16, "gray")
    levels = np.repeat(np.array([16, 126, 235, 16], np.uint8), 8)
    frame.planes[0].update(np.tile(levels, (16, 1)).tobytes())
    write(tmp_path / "in.mp4", [frame], color_range=1)
    twice = Twice()
    with open_video(tmp_path / "in.mp4", 10**6) as opened:
        upscale_video(opened, tmp_path / "out.mp4", (32, 64), twice, Encoding(crf=0))
    assert twice.seen[0][8, [4, 12, 20]].mean(axis=1).round().tolist() == [0, 128, 255]
    back = content(tmp_path / "out.mp4").frames[0]
    assert np.asarray(back.to_ndarray())[16, [8, 24, 40]].tolist() == [16, 126, 235]


def test_libx264_holds_fewer_of_large_frames() -> None:
    for width, expected in ((3840, {"crf": "17"}), (7680, None)):
        context: Any = av.CodecContext.create("libx264", "w")
        context.width, context.height = width, width * 9 // 16
        options = encoder_options(context, "libx264", None, Path("out.mp4"))
        assert options == (expected or {"crf": "17", "rc-lookahead": "10", "threads": "4"})
