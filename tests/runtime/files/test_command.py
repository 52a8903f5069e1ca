"""pcsr-upscale: files and folders in and out, metadata, overlays, statistics."""

import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from pcsr import Upscaler
from tests.commands import Ended, assert_clean, snapshot, upscale

from .pictures import MODES, SIZE, colours, picture, pixels_of, size_of

LARGE = (4 * SIZE[0], 4 * SIZE[1])
FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".tiff": "TIFF", ".webp": "WEBP"}
TEXT = "1 file of another kind: 1 .txt"
ORIENTATION, ARTIST = 0x0112, 0x013B


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Where results go; not there yet."""
    return tmp_path / "out"


def assert_done(ended: Ended, images: int = 1, skipped: str = "") -> None:
    """Success, one line per image on stderr, then what was skipped and for several a summary;
    nothing on stdout.
    """
    assert ended.code == 0, ended.stderr
    assert_clean(ended)
    lines = ended.complaints[:images]
    assert not [line for line in lines if not re.search(r": \d+x\d+", line)]
    rest = ended.complaints[images:]
    if skipped:
        assert rest.pop(0).startswith(f"skipped {skipped}")
    assert len(rest) <= 1
    assert images == 1 or rest[0].startswith(f"{images} done, 0 failed in ")
    assert ended.stdout == ""


def without_colours(ended: Ended) -> Ended:
    """The same, without the last line, which explains the colours of the overlay."""
    assert ended.complaints[-1].startswith("overlay: red is ")
    return replace(ended, stderr=ended.stderr.rpartition("overlay: ")[0])


# Files and folders


def test_one_file(carn_like_bundle: Path, tmp_path: Path) -> None:
    source, target = picture(tmp_path / "in.png"), tmp_path / "result.png"
    ended = upscale(carn_like_bundle, source, target)
    assert_done(ended)
    assert "result.png: 80x48" in ended.stderr
    expected = Upscaler(carn_like_bundle)(colours()).image
    np.testing.assert_array_equal(pixels_of(target), expected)
    assert sorted(os.listdir(tmp_path)) == ["in.png", "result.png"]


def test_missing_folders_are_made(carn_like_bundle: Path, out: Path, tmp_path: Path) -> None:
    assert_done(upscale(carn_like_bundle, picture(tmp_path / "in.png"), out / "a" / "b.png"))
    assert size_of(out / "a" / "b.png") == LARGE


def test_one_file_into_a_folder(carn_like_bundle: Path, out: Path, tmp_path: Path) -> None:
    assert_done(upscale(carn_like_bundle, picture(tmp_path / "in.png"), out))
    assert list(snapshot(out)) == ["in.png"]


def test_several_files(carn_like_bundle: Path, out: Path, tmp_path: Path) -> None:
    sources = [picture(tmp_path / name, seed=i) for i, name in enumerate(("a.png", "b.webp"))]
    assert_done(upscale(carn_like_bundle, *sources, out), images=2)
    assert list(snapshot(out)) == ["a.png", "b.webp"]
    assert [size_of(path) for path in sorted(out.iterdir())] == [LARGE, LARGE]


def test_the_same_file_twice_is_done_once(
    carn_like_bundle: Path, out: Path, tmp_path: Path
) -> None:
    source = picture(tmp_path / "a.png")
    assert_done(upscale(carn_like_bundle, source, source, out))


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """A folder of pictures, with sub-folders and other files."""
    for name in ("b.png", "a.JPG", "sub/c.png", "sub/deep/d.tif", ".hidden/e.png", ".f.png"):
        picture(tmp_path / "album" / name)
    (tmp_path / "album" / "notes.txt").write_text("no picture")
    return tmp_path / "album"


def test_folder(carn_like_bundle: Path, album: Path, out: Path) -> None:
    assert_done(upscale(carn_like_bundle, album, out), 2, TEXT)
    assert list(snapshot(out)) == ["a.JPG", "b.png"]


def test_recursive_mirrors_sub_folders(carn_like_bundle: Path, album: Path, out: Path) -> None:
    assert_done(upscale(carn_like_bundle, album, out, "--recursive"), 4, TEXT)
    files = [name for name, content in snapshot(out).items() if content]
    assert files == ["a.JPG", "b.png", "sub/c.png", "sub/deep/d.tif"]


def test_results_inside_the_folder_are_no_inputs(carn_like_bundle: Path, album: Path) -> None:
    args = (carn_like_bundle, album, album / "out", "--recursive", "--overwrite")
    assert_done(upscale(*args), 4, TEXT)
    assert_done(upscale(*args), 4, TEXT)
    assert not (album / "out" / "out").exists()


@pytest.mark.parametrize("options", [[], ["--format", "tiff"]])
def test_output_may_be_above_the_inputs(
    options: list[str],
    carn_like_bundle: Path,
    album: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert_done(upscale(carn_like_bundle, "album/b.png", ".", *options))
    assert size_of(tmp_path / ("b.tiff" if options else "b.png")) == LARGE


def test_beside_the_inputs_in_another_format(carn_like_bundle: Path, tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    assert_done(upscale(carn_like_bundle, tmp_path, tmp_path, "--format", "webp"))
    assert sorted(os.listdir(tmp_path)) == ["a.png", "a.webp"]


@pytest.mark.parametrize("name", ["a b.png", "ünï☃.png", "new\nline.png", "x" * 251 + ".png"])
def test_odd_names(name: str, carn_like_bundle: Path, out: Path, tmp_path: Path) -> None:
    ended = upscale(carn_like_bundle, picture(tmp_path / name), out)
    assert_done(ended)
    assert list(snapshot(out)) == [name]


# Formats and metadata


@pytest.mark.parametrize(
    ("suffix", "mode"), [(suffix, mode) for suffix, modes in MODES.items() for mode in modes]
)
def test_formats_in(suffix: str, mode: str, carn_like_bundle: Path, tmp_path: Path) -> None:
    source, target = picture(tmp_path / f"in{suffix}", mode), tmp_path / "out.png"
    assert_done(upscale(carn_like_bundle, source, target))
    found = pixels_of(target).reshape(*LARGE, -1).astype(float)
    grey = found[..., : 1 if found.shape[2] < 3 else 3].mean(axis=2)
    likeness = np.corrcoef(grey.ravel(), bicubic().ravel())[0, 1]
    assert likeness > 0.7, "inverted, shifted or shuffled"


def bicubic() -> NDArray[np.float64]:
    grey = Image.fromarray(colours()).convert("L")
    return np.asarray(grey.resize(LARGE[::-1], Image.Resampling.BICUBIC), dtype=np.float64)


@pytest.mark.parametrize("suffix", FORMATS)
def test_formats_out(suffix: str, carn_like_bundle: Path, tmp_path: Path) -> None:
    target = tmp_path / f"out{suffix}"
    assert_done(upscale(carn_like_bundle, picture(tmp_path / "in.png"), target))
    assert Image.open(target).format == FORMATS[suffix]
    assert size_of(target) == LARGE


@pytest.mark.parametrize("form", ["png", "jpg", "tiff", "webp"])
def test_format_of_a_folder(form: str, carn_like_bundle: Path, out: Path, album: Path) -> None:
    assert_done(upscale(carn_like_bundle, album, out, "--format", form, "--quality", 50), 2, TEXT)
    assert list(snapshot(out)) == [f"a.{form}", f"b.{form}"]
    assert Image.open(out / f"a.{form}").format == FORMATS[f".{form}"]


def test_deep_pixels_stay_deep(carn_like_bundle: Path, tmp_path: Path) -> None:
    source = picture(tmp_path / "in.png", "I;16")
    assert_done(upscale(carn_like_bundle, source, tmp_path / "out.png"))
    assert pixels_of(tmp_path / "out.png").dtype == np.uint16


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_exif_orientation_is_applied(suffix: str, carn_like_bundle: Path, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION], exif[ARTIST] = 6, "somebody"
    source = picture(tmp_path / f"in{suffix}", exif=exif, lossless=True)
    assert_done(upscale(carn_like_bundle, source, tmp_path / "out.png"))
    upright = np.rot90(pixels_of(source), -1)
    expected = Upscaler(carn_like_bundle)(np.ascontiguousarray(upright)).image
    found = pixels_of(tmp_path / "out.png")
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).max() <= (8 if suffix == ".jpg" else 0)
    kept = Image.open(tmp_path / "out.png").getexif()
    assert (kept.get(ORIENTATION, 1), kept[ARTIST]) == (1, "somebody")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tiff", ".webp"])
def test_icc_profile_is_kept(suffix: str, carn_like_bundle: Path, tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    source, target = picture(tmp_path / f"in{suffix}", icc_profile=profile), tmp_path / "o.png"
    assert_done(upscale(carn_like_bundle, source, target))
    assert Image.open(target).info["icc_profile"] == profile


# Sizes and scales


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (2, 3000)])
@pytest.mark.parametrize("scale", [1, 2.5])
def test_odd_sizes(
    size: tuple[int, int], scale: float, carn_like_bundle: Path, tmp_path: Path
) -> None:
    source, target = picture(tmp_path / "in.png", size=size), tmp_path / "out.png"
    assert_done(upscale(carn_like_bundle, source, target, "--scale", scale))
    assert size_of(target) == tuple(round(n * scale) for n in size)


# Overlays and statistics


@pytest.mark.parametrize("name", ["carn_like_bundle", "three_way_bundle"])
def test_overlay_of_a_file(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    bundle: Path = request.getfixturevalue(name)
    source, target = picture(tmp_path / "in.png"), tmp_path / "out.png"
    ended = upscale(bundle, source, target, "--overlay", tmp_path / "maps" / "o.png")
    assert_done(without_colours(ended))
    assert ended.complaints[-1].startswith("overlay: red is upsampler 0 (heaviest), ")
    drawn = pixels_of(tmp_path / "maps" / "o.png")
    assert drawn.shape == pixels_of(target).shape
    assert (drawn != pixels_of(target)).any()


def test_overlays_of_a_folder_are_png(
    carn_like_bundle: Path, album: Path, out: Path, tmp_path: Path
) -> None:
    maps = tmp_path / "maps"
    ended = upscale(carn_like_bundle, album, out, "--recursive", "--overlay", maps)
    assert_done(without_colours(ended), 4, TEXT)
    files = [name for name, content in snapshot(maps).items() if content]
    assert files == ["a.png", "b.png", "sub/c.png", "sub/deep/d.png"]


def statistics(ended: Ended) -> list[dict[str, Any]]:
    return [json.loads(line) for line in ended.stdout.splitlines()]


def test_json_lines(carn_like_bundle: Path, album: Path, out: Path) -> None:
    (album / "broken.png").write_bytes(b"")
    ended = upscale(carn_like_bundle, album, out, "--json", "-")
    assert ended.code == 1
    records = {Path(record["input"]).name: record for record in statistics(ended)}
    assert list(records) == ["a.JPG", "b.png", "broken.png"]
    assert "empty file" in records["broken.png"]["error"]
    good = records["b.png"]
    assert good["output"] == str(out / "b.png")
    assert (good["lr_size"], good["hr_size"]) == ([*SIZE], [*LARGE])
    heavy, light = good["pixels_per_upsampler"]
    assert heavy + light == LARGE[0] * LARGE[1]
    assert good["heavy_share"] == heavy / (heavy + light)
    assert good["total_ms"] >= good["stage_ms"]["backbone"] > 0


@pytest.mark.parametrize(
    ("options", "share"),
    [
        (["--heavy-ratio", 0], 0),
        (["--heavy-ratio", 0.25], 0.25),
        (["--heavy-ratio", 1], 1),
        (["--k", 1e6], 0),
        (["--k", -1e6], 1),
    ],
)
def test_routing_options(
    options: list[Any], share: float, carn_like_bundle: Path, tmp_path: Path
) -> None:
    source = picture(tmp_path / "in.png")
    ended = upscale(carn_like_bundle, source, tmp_path / "out.png", "--json", "-", *options)
    assert statistics(ended)[0]["heavy_share"] == pytest.approx(share, abs=1e-3)


def test_adaptive_flat_image_is_all_light_and_valid_json(
    carn_like_bundle: Path, tmp_path: Path
) -> None:
    Image.new("RGB", (1, 1)).save(tmp_path / "flat.png")
    args = (tmp_path / "flat.png", tmp_path / "out.png", "--scale", 1, "--adaptive", "--json", "-")
    ended = upscale(carn_like_bundle, *args)
    record = statistics(ended)[0]
    assert record["heavy_share"] == 0
    assert record["threshold"] is None


def test_plain_bundle(plain_bundle: Path, tmp_path: Path) -> None:
    source, target = picture(tmp_path / "in.png"), tmp_path / "out.png"
    ended = upscale(plain_bundle, source, target, "--json", "-")
    assert ended.code == 0
    assert statistics(ended)[0]["pixels_per_upsampler"] == []
    assert size_of(target) == LARGE
