"""pcsr-upscale with image files that are damaged, animated, cut out, or of formats only read."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.commands import assert_refused, snapshot, upscale

from .pictures import SIZE, colours, picture, size_of

HR = (4 * SIZE[0], 4 * SIZE[1])


def cut_off(folder: Path) -> Path:
    """A JPEG without its end marker."""
    path = picture(folder / "cut.jpg")
    path.write_bytes(path.read_bytes()[:-2])
    return path


def test_damaged_images_are_taken_on_demand(carn_like_bundle: Path, tmp_path: Path) -> None:
    source, target = cut_off(tmp_path), tmp_path / "out.png"
    refused = upscale(carn_like_bundle, source, target)
    assert_refused(refused, 1, "cannot read .*cut.jpg: damaged.*or pass --accept-damaged")
    taken = upscale(carn_like_bundle, source, target, "--accept-damaged")
    assert taken.code == 0
    assert size_of(target) == HR
    assert f"warning: {target}: it is damaged or incomplete" in taken.stderr


def test_an_animation_fails_among_pictures(carn_like_bundle: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    frames = [Image.fromarray(colours(seed=seed)) for seed in range(3)]
    picture(folder / "a.png")
    frames[0].save(folder / "b.png", save_all=True, append_images=frames[1:])
    picture(folder / "c.png")
    ended = upscale(carn_like_bundle, folder, out)
    assert ended.code == 1
    assert list(snapshot(out)) == ["a.png", "c.png"]
    assert "b.png: expected one picture, found an animation of 3 frames; extract" in ended.stderr


@pytest.mark.parametrize("name", ["a.gif", "a.bmp", "a.avif"])
def test_formats_that_are_only_read_become_png(
    name: str, carn_like_bundle: Path, tmp_path: Path
) -> None:
    picture(tmp_path / "in" / name, "P" if name == "a.gif" else "RGB")
    ended = upscale(carn_like_bundle, tmp_path / "in", tmp_path / "out")
    assert (ended.code, list(snapshot(tmp_path / "out"))) == (0, ["a.png"])
    assert size_of(tmp_path / "out" / "a.png") == HR


def test_jfif_stays_jfif(carn_like_bundle: Path, tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a.jfif")
    ended = upscale(carn_like_bundle, tmp_path / "in", tmp_path / "out")
    assert (ended.code, list(snapshot(tmp_path / "out"))) == (0, ["a.jfif"])


def test_opaque_alpha_becomes_jpeg(carn_like_bundle: Path, tmp_path: Path) -> None:
    source = picture(tmp_path / "in.png", "RGBA")
    assert upscale(carn_like_bundle, source, tmp_path / "out.jpg").code == 0
    assert size_of(tmp_path / "out.jpg") == HR
    clear = np.dstack([colours(), np.zeros(SIZE, np.uint8)])
    Image.fromarray(clear).save(source)
    refused = upscale(carn_like_bundle, source, tmp_path / "other.jpg")
    assert_refused(refused, 1, "JPEG has no alpha; write PNG, TIFF or WebP")


def test_a_cut_out_has_no_halo(carn_like_bundle: Path, tmp_path: Path) -> None:
    """What is under transparent pixels does not matter."""
    alpha = np.zeros(SIZE, np.uint8)
    alpha[3:9, 5:15] = 255
    made = []
    for hidden in (0, 255):
        cut_out = np.where(alpha[..., None] > 0, colours(), np.uint8(hidden))
        Image.fromarray(np.dstack([cut_out, alpha])).save(tmp_path / "in.png")
        target = tmp_path / f"{hidden}.png"
        assert upscale(carn_like_bundle, tmp_path / "in.png", target).code == 0
        made.append(np.asarray(Image.open(target)))
    np.testing.assert_array_equal(made[0], made[1])


def test_text_left_out_is_told(carn_like_bundle: Path, tmp_path: Path) -> None:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("parameters", "a cat, Steps: 20")
    source = picture(tmp_path / "in.png", pnginfo=info)
    kept = upscale(carn_like_bundle, source, tmp_path / "out.png")
    assert (kept.code, "warning" in kept.stderr) == (0, False)
    assert Image.open(tmp_path / "out.png").info["parameters"] == "a cat, Steps: 20"
    lost = upscale(carn_like_bundle, source, tmp_path / "out.jpg")
    assert lost.code == 0
    assert "its text (parameters) is left out; only PNG keeps it" in lost.stderr


def test_a_file_in_the_place_of_a_folder_is_named(carn_like_bundle: Path, tmp_path: Path) -> None:
    sources = [picture(tmp_path / "in" / name) for name in ("a.png", "b.png")]
    (tmp_path / "afile").touch()
    ended = upscale(carn_like_bundle, *sources, tmp_path / "afile" / "out")
    assert ended.code == 2, "said once, before the work"
    assert f"{tmp_path / 'afile'} is a file, expected a folder for the results" in ended.stderr
