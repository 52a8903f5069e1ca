"""examples/cpp: compiled against the installed library, it writes the pixels of pcsr-upscale."""

import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pcsr import images, upscale_file
from pcsr.images import Picture
from tests.runtime.libpcsr import building
from tests.runtime.libpcsr.equality import random_image

SOURCE = building.ROOT / "examples" / "cpp"
MOST_PIXELS = 10**6


@pytest.fixture(scope="session")
def upscale_png() -> Path:
    """The compiled example."""
    prefix = building.installed()
    folder = building.CACHE / "example"
    with building.lock("example"):
        building.configure(SOURCE, folder, f"-DCMAKE_PREFIX_PATH={prefix}")
    return folder / "upscale_png"


def run(program: Path, *arguments: Path | str) -> subprocess.CompletedProcess[str]:
    command = [program, *arguments]
    env = {**os.environ, "PCSR_ONNXRUNTIME": str(building.onnxruntime_library())}
    return subprocess.run(command, capture_output=True, text=True, env=env, check=False)


def pixels_of(path: Path) -> NDArray[Any]:
    return images.read(path, MOST_PIXELS).pixels


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_pixels_are_those_of_the_command(
    channels: int, dtype: str, upscale_png: Path, carn_like_bundle: Path, tmp_path: Path
) -> None:
    image = random_image((33, 21), channels, dtype)
    images.write(Picture(image[..., 0] if channels == 1 else image), tmp_path / "small.png")
    for scale in (2.5, None):
        more = [] if scale is None else [str(scale)]
        files = (tmp_path / "small.png", tmp_path / f"large{scale}.png")
        done = run(upscale_png, carn_like_bundle, *files, *more)
        assert (done.returncode, done.stderr) == (0, "")
        expected = tmp_path / f"expected{scale}.png"
        upscale_file(carn_like_bundle, tmp_path / "small.png", expected, scale)
        assert pixels_of(files[1]).dtype == image.dtype
        assert np.array_equal(pixels_of(files[1]), pixels_of(expected))


def test_palettes_and_profiles(upscale_png: Path, plain_bundle: Path, tmp_path: Path) -> None:
    from PIL.ImageCms import ImageCmsProfile, createProfile

    profile = ImageCmsProfile(createProfile("sRGB")).tobytes()
    colours = Image.fromarray(random_image((20, 30))).quantize(16)
    colours.save(tmp_path / "small.png", icc_profile=profile)
    done = run(upscale_png, plain_bundle, tmp_path / "small.png", tmp_path / "large.png")
    assert (done.returncode, done.stderr) == (0, "")
    upscale_file(plain_bundle, tmp_path / "small.png", tmp_path / "expected.png")
    assert np.array_equal(pixels_of(tmp_path / "large.png"), pixels_of(tmp_path / "expected.png"))
    assert Image.open(tmp_path / "large.png").info["icc_profile"] == profile


def test_what_fails_leaves_nothing(
    upscale_png: Path, carn_like_bundle: Path, tmp_path: Path
) -> None:
    (tmp_path / "text.png").write_text("no image")
    whole = tmp_path / "whole.png"
    images.write(Picture(random_image((9, 9))), whole)
    (tmp_path / "cut.png").write_bytes(whole.read_bytes()[:-60])
    out = tmp_path / "out.png"
    cases: list[tuple[Any, ...]] = [
        (carn_like_bundle, tmp_path / "nothing.png", out),
        (carn_like_bundle, tmp_path / "text.png", out),
        (carn_like_bundle, tmp_path / "cut.png", out),
        (tmp_path, whole, out),
        (carn_like_bundle, whole, tmp_path / "no" / "folder.png"),
        (carn_like_bundle, whole, out, "0.5"),
    ]
    for case in cases:
        done = run(upscale_png, *case)
        assert done.returncode == 1
        assert done.stderr.startswith("upscale_png: ")
        assert len(done.stderr.splitlines()) == 1
    for wrong in ([], [carn_like_bundle, whole, out, "four"]):
        assert run(upscale_png, *wrong).returncode == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut.png", "text.png", "whole.png"]


def test_it_is_short() -> None:
    assert len((SOURCE / "upscale_png.cpp").read_text().splitlines()) < 150
