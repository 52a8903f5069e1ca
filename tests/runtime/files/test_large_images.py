"""Outputs that are written while they are computed: the same pixels, by the same command."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pcsr.runtime.files import batch
from tests.commands import assert_refused, snapshot, upscale

from .pictures import picture, pixels_of

MODES = [["--k", "0"], ["--adaptive"], ["--heavy-ratio", "0.3"], ["--no-refine"], ["--tile", "16"]]


def _outputs(
    bundle: Path, source: Path, suffix: str, options: list[str], monkeypatch: pytest.MonkeyPatch
) -> list[np.ndarray]:
    """The whole image's file, and the streamed one."""
    found = []
    for name, limit in (("whole", batch.STREAMED_PIXELS), ("streamed", 0)):
        monkeypatch.setattr(batch, "STREAMED_PIXELS", limit)
        target = source.with_name(f"{name}{suffix}")
        ended = upscale(bundle, source, target, *options)
        assert ended.code == 0, ended.stderr
        found.append(pixels_of(target))
    return found


@pytest.mark.parametrize("options", MODES, ids=" ".join)
@pytest.mark.parametrize("suffix", [".tif", ".png"])
def test_streamed_pixels_are_those_of_the_whole_image(
    suffix: str,
    options: list[str],
    carn_like_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = picture(tmp_path / "in.png")
    whole, streamed = _outputs(carn_like_bundle, source, suffix, options, monkeypatch)
    assert np.array_equal(whole, streamed)


@pytest.mark.parametrize("mode", ["L", "RGBA"])
def test_gray_is_streamed_and_alpha_is_held_whole(
    mode: str, carn_like_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = picture(tmp_path / "in.png", mode)
    whole, streamed = _outputs(carn_like_bundle, source, ".png", [], monkeypatch)
    assert np.array_equal(whole, streamed)


def test_what_exists_is_not_touched(
    carn_like_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "STREAMED_PIXELS", 0)
    source, target = picture(tmp_path / "in.png"), tmp_path / "out.png"
    Image.new("RGB", (2, 2)).save(target)
    before = snapshot(tmp_path)
    assert_refused(upscale(carn_like_bundle, source, target), 1, "exists; pass --overwrite")
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("tile", ["1", "15", "-3", "much", "1.5"])
def test_foreign_tiles_are_refused(tile: str, carn_like_bundle: Path, tmp_path: Path) -> None:
    source = picture(tmp_path / "in.png")
    ended = upscale(carn_like_bundle, source, tmp_path / "out.png", "--tile", tile)
    assert_refused(ended, 2, "tile must be auto or a number of at least 16")
