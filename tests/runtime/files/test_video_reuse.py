"""pcsr-upscale computes of a video's frames only what changed, with the same result."""

import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.commands import snapshot, upscale

from .pictures import picture
from .videos import content, video, write

SIZE = (48, 80)


def screen(path: Path, frames: int = 12) -> Path:
    """A still picture with a window that moves in every other frame, and a cut, without loss."""
    random = np.random.default_rng(0)
    still = random.integers(0, 256, (*SIZE, 3), np.uint8)
    window = random.integers(0, 256, (9, 12, 3), np.uint8)
    shown = []
    for n in range(frames):
        frame = still.copy() if n < frames - 3 else 255 - still
        at = 3 * (n // 2)
        frame[at : at + 9, at : at + 12] = window
        shown.append(av.VideoFrame.from_ndarray(frame).reformat(format="bgr0"))
    write(path, shown, codec="ffv1")
    return path


def decoded(path: Path) -> list[bytes]:
    return [frame.to_ndarray().tobytes() for frame in content(path).frames]


@pytest.mark.parametrize("routing", [["--k", "0"], ["--adaptive"]], ids=["k", "adaptive"])
def test_the_video_is_the_same(routing: list[str], three_way_bundle: Path, tmp_path: Path) -> None:
    source, options = screen(tmp_path / "in.mkv"), ["--codec", "ffv1", *routing]
    names: dict[str, list[str]] = {
        "default": [],
        "exact": ["--reuse", "exact"],
        "off": ["--reuse", "off"],
        "zero": ["--reuse-within", "0"],
    }
    made, found = dict[str, list[bytes]](), dict[str, Any]()
    for name, given in names.items():
        target = tmp_path / f"{name}.mkv"
        ended = upscale(three_way_bundle, source, target, *options, *given, "--json", "-")
        assert ended.code == 0, ended.stderr
        made[name], found[name] = decoded(target), json.loads(ended.stdout)
    assert made["default"] == made["exact"] == made["off"] == made["zero"]
    assert found["off"]["reused_share"] == 0
    for name in ("default", "exact", "zero"):
        assert 0.5 < found[name]["reused_share"] < 1
        assert found[name]["pixels_per_upsampler"] == found["off"]["pixels_per_upsampler"]


def test_what_differs_by_a_few_levels_is_reused(three_way_bundle: Path, tmp_path: Path) -> None:
    still = np.random.default_rng(0).integers(2, 250, (*SIZE, 3), np.uint8)
    shown = [
        av.VideoFrame.from_ndarray(still + np.uint8(n % 3)).reformat(format="bgr0")
        for n in range(6)
    ]
    write(tmp_path / "in.mkv", shown, codec="ffv1")
    target = tmp_path / "out.mkv"
    options = ("--codec", "ffv1", "--reuse-within", 2)
    ended = upscale(three_way_bundle, tmp_path / "in.mkv", target, *options)
    assert ended.code == 0, ended.stderr
    assert "6 frames" in ended.stderr
    assert "83% reused" in ended.stderr
    assert len(set(decoded(target))) == 1


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            ["--reuse", "exact"],
            "--reuse is for videos, and none of the inputs is one; leave it out",
        ),
        (["--reuse-within", "1"], "--reuse-within is for videos, and none of the inputs is one"),
        (["--reuse", "some"], "'some' is not one of 'exact', 'off'"),
        (["--reuse-within", "256"], "256.0 is not in the range 0<=x<=255"),
        (["--reuse-within", "nan"], "nan is not in the range 0<=x<=255"),
        (["--crf", "nan"], "nan is not in the range 0<=x<=63"),
        (["--crf", "20"], "--crf is for videos, and none of the inputs is one; leave it out"),
        (["--crf", "20", "--codec", "libx264"], "--crf and --codec are for videos, and none"),
    ],
)
def test_photos_are_refused(
    options: list[str], line: str, three_way_bundle: Path, tmp_path: Path
) -> None:
    picture(tmp_path / "in.png")
    before = snapshot(tmp_path)
    ended = upscale(three_way_bundle, tmp_path / "in.png", tmp_path / "out.png", *options)
    assert ended.code == 2
    assert line in ended.stderr
    assert snapshot(tmp_path) == before


def test_off_and_within_exclude_each_other(three_way_bundle: Path, tmp_path: Path) -> None:
    source = video(tmp_path / "in.mkv", frames=2)
    options = ("--reuse", "off", "--reuse-within", 1)
    ended = upscale(three_way_bundle, source, tmp_path / "out.mkv", *options)
    assert ended.code == 2
    assert ended.complaints == [
        "error: --reuse off and --reuse-within exclude each other; leave one out"
    ]


def test_an_engine_is_refused(three_way_bundle: Path, tmp_path: Path) -> None:
    picture(tmp_path / "in.png")
    options = ("--engine", "ray", "--reuse", "off")
    ended = upscale(three_way_bundle, tmp_path / "in.png", tmp_path / "out", *options)
    assert ended.code == 2
    assert (
        "--reuse and --reuse-within are for videos, which do not go with --engine" in ended.stderr
    )
