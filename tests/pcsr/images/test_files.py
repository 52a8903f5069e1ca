"""Image files: what is kept, what is refused, and that nothing half-written stays behind."""

import os
import re
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from pcsr import images
from pcsr.errors import ImageError, OutputError, PcsrError, UsageError
from pcsr.images import Metadata, Picture, writing

from .pictures import LIMIT, PROFILE, encoded, png, ramp

ALL_SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".tif", ".tiff", ".webp")
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'
ORIENTATION, MAKE = 0x0112, 0x010F
JPEG_TOLERANCE = 6  # quality 100: two roundings of YCbCr, and the DCT's own


def through(path: Path, pixels: np.ndarray, quality: int = 95) -> np.ndarray:
    images.write(Picture(pixels), path, quality=quality)
    return images.read(path, LIMIT).pixels


def run_python(code: str, *arguments: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    root = Path(images.__file__).parents[2]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=root)


@pytest.mark.parametrize("size", [(24, 32), (1, 1), (1, 9)])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize(
    ("suffix", "dtype"),
    [(".png", "uint8"), (".png", "uint16")]
    + [(".tif", dtype) for dtype in ("uint8", "uint16", "float32")],
)
def test_lossless_round_trip(
    tmp_path: Path, suffix: str, dtype: str, channels: int, size: tuple[int, int]
) -> None:
    pixels = ramp(channels, dtype, size)
    read = through(tmp_path / f"a{suffix}", pixels)
    assert read.dtype == pixels.dtype
    np.testing.assert_array_equal(read, pixels)


@pytest.mark.parametrize("size", [(24, 32), (1, 1)])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_webp_is_lossless_at_quality_100(
    tmp_path: Path, channels: int, size: tuple[int, int]
) -> None:
    pixels = ramp(channels, size=size)
    grey = pixels.reshape(*size, channels)[..., [0, 0, 0, -1][: channels + 2]]
    expected = grey if channels < 3 else pixels
    np.testing.assert_array_equal(through(tmp_path / "a.webp", pixels, 100), expected)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(24, 32), (1, 1)])
def test_jpeg_round_trip(tmp_path: Path, channels: int, size: tuple[int, int]) -> None:
    pixels = ramp(channels, size=size)
    read = through(tmp_path / "a.jpg", pixels, 100)
    assert read.shape == pixels.shape
    assert np.abs(read.astype(int) - pixels).max() <= JPEG_TOLERANCE


@pytest.mark.parametrize(("quality", "layers"), [(80, (2, 2)), (90, (1, 1)), (95, (1, 1))])
def test_jpeg_keeps_full_chroma_from_quality_90(
    tmp_path: Path, quality: int, layers: tuple[int, int]
) -> None:
    through(tmp_path / "a.jpg", ramp(), quality)
    with Image.open(tmp_path / "a.jpg") as picture:
        assert vars(picture)["layer"][0][1:3] == layers


def test_eight_bit_formats_round_to_nearest(tmp_path: Path) -> None:
    deep = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    expected = np.repeat((deep[..., None] + 128.5) // 257, 3, axis=-1)
    np.testing.assert_array_equal(through(tmp_path / "a.webp", deep, 100), expected)


@pytest.mark.parametrize(("suffix", "white"), [(".png", 65535), (".webp", 255)])
def test_float_is_clipped_and_rounded(tmp_path: Path, suffix: str, white: int) -> None:
    pixels = np.random.default_rng(0).uniform(-0.2, 1.2, (9, 11, 3)).astype(np.float32)
    expected = np.rint(pixels.clip(0, 1).astype(np.float64) * white)
    np.testing.assert_array_equal(through(tmp_path / f"a{suffix}", pixels, 100), expected)


def test_float_tiff_keeps_overshoot_and_strided_input(tmp_path: Path) -> None:
    pixels = (ramp(3, "float32") * 2.8 - 0.4)[::-1, ::2]
    np.testing.assert_array_equal(through(tmp_path / "a.tif", pixels), pixels)


def test_large_tiff_is_bigtiff(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    through(tmp_path / "small.tif", ramp())
    monkeypatch.setattr(writing, "_CLASSIC_TIFF_BYTES", 100)
    np.testing.assert_array_equal(through(tmp_path / "large.tif", ramp()), ramp())
    assert (tmp_path / "small.tif").read_bytes()[2] == 42
    assert (tmp_path / "large.tif").read_bytes()[2] == 43


def test_foreign_sixteen_bit_rgb_png_is_exact(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 65536, (5, 7, 3), dtype=np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    (tmp_path / "a.png").write_bytes(png(7, 5, 16, 2, rows))
    read = images.read(tmp_path / "a.png", LIMIT).pixels
    assert read.dtype == np.uint16
    np.testing.assert_array_equal(read, pixels)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize(("mode", "kept"), [("P", "RGB"), ("1", "L"), ("L", "L"), ("RGBA", "RGBA")])
def test_foreign_modes(tmp_path: Path, suffix: str, mode: str, kept: str) -> None:
    (tmp_path / "a").write_bytes(encoded(suffix, mode))
    expected = np.asarray(Image.fromarray(ramp()).convert(mode).convert(kept))
    read = images.read(tmp_path / "a", LIMIT).pixels
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, expected)


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_cmyk_becomes_rgb_without_its_profile(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "a").write_bytes(encoded(suffix, "CMYK", icc_profile=PROFILE))
    picture = images.read(tmp_path / "a", LIMIT)
    assert picture.pixels.shape == (24, 32, 3)
    assert picture.metadata.icc is None
    difference = picture.pixels.astype(int) - ramp()
    assert np.abs(difference).mean() < 40  # press inks are duller than the screen


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_once(tmp_path: Path, orientation: int, suffix: str) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    lossless = {"lossless": True} if suffix == ".webp" else {}
    (tmp_path / "a").write_bytes(encoded(suffix, exif=exif, **lossless))
    with Image.open(tmp_path / "a") as stored:
        expected = np.asarray(ImageOps.exif_transpose(stored))
    picture = images.read(tmp_path / "a", LIMIT)
    assert picture.pixels.shape == expected.shape
    assert np.abs(picture.pixels.astype(int) - expected).max() <= (suffix == ".jpg")
    for target in (".png", ".tif"):
        images.write(picture, tmp_path / f"b{target}")
        with Image.open(tmp_path / f"b{target}") as written:
            assert written.getexif().get(ORIENTATION, 1) == 1
            np.testing.assert_array_equal(np.asarray(written), picture.pixels)


@pytest.mark.parametrize("target", [".png", ".jpg", ".webp", ".tif"])
@pytest.mark.parametrize("source", [".jpg", ".webp", ".tif"])
def test_metadata_survives_an_upscale(tmp_path: Path, source: str, target: str) -> None:
    exif = Image.Exif()
    exif[MAKE] = "Maker"
    options = {"exif": exif, "icc_profile": PROFILE, "dpi": (300, 300)}
    (tmp_path / "a").write_bytes(encoded(source, xmp=XMP, **options))
    picture = images.read(tmp_path / "a", LIMIT)
    images.write(picture.with_pixels(ramp(size=(48, 64))), tmp_path / f"b{target}")
    again = images.read(tmp_path / f"b{target}", LIMIT).metadata
    with Image.open(tmp_path / f"b{target}") as written:
        assert written.info["icc_profile"] == PROFILE
        if ".tif" not in (source, target):  # libvips carries no EXIF in or out of TIFF
            assert written.getexif()[MAKE] == "Maker"
        if ".webp" not in (source, target):  # only its EXIF could hold a resolution
            assert written.info["dpi"] == pytest.approx((300, 300), abs=0.01)
    assert again.icc == PROFILE
    assert again.xmp == picture.metadata.xmp
    if source != ".tif":
        assert again.xmp == XMP


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
@pytest.mark.parametrize(
    ("channels", "profile"), [(3, b""), (3, b"x" * 200), (1, PROFILE), (3, PROFILE + b"tail")]
)
def test_unusable_profile_is_left_out(
    tmp_path: Path, suffix: str, channels: int, profile: bytes
) -> None:
    metadata = Metadata(icc=profile, exif=b"", xmp=b"")
    images.write(Picture(ramp(channels), metadata), tmp_path / f"a{suffix}")
    assert images.read(tmp_path / f"a{suffix}", LIMIT).metadata.icc is None


def test_unstated_resolution_becomes_72_dpi(tmp_path: Path) -> None:
    (tmp_path / "a.webp").write_bytes(encoded(".webp"))
    images.write(images.read(tmp_path / "a.webp", LIMIT), tmp_path / "b.tif")
    with Image.open(tmp_path / "b.tif") as written:
        assert written.info["dpi"] == pytest.approx((72, 72), abs=0.01)


def test_tiff_of_one_large_strip(tmp_path: Path) -> None:
    """libvips refuses a compressed strip of this size unless it is told otherwise."""
    height, width = 5000, 11000
    strip = zlib.compress(bytes(height * width), level=0)
    values = {256: width, 257: height, 258: 8, 259: 8, 262: 1, 273: 122, 277: 1, 278: height}
    tags = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in values.items()]
    tags.append(struct.pack("<HHII", 279, 4, 1, len(strip)))
    header = b"II*\0" + struct.pack("<IH", 8, len(tags)) + b"".join(tags) + bytes(4)
    assert len(header) == values[273]
    (tmp_path / "a.tif").write_bytes(header + strip)
    assert images.read(tmp_path / "a.tif", height * width).pixels.shape == (height, width)


def test_reads_by_content_and_odd_names(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff[page=1].PNG"))
    path.write_bytes(encoded(".jpg"))
    assert images.read(path, LIMIT).pixels.shape == (24, 32, 3)
    images.write(Picture(ramp(1)), path, overwrite=True)
    np.testing.assert_array_equal(images.read(path, LIMIT).pixels, ramp(1))


def claiming_20000(jpeg: bytes) -> bytes:
    frame = jpeg.index(b"\xff\xc0")
    return jpeg[: frame + 5] + struct.pack(">HH", 20000, 20000) + jpeg[frame + 9 :]


@pytest.mark.parametrize(
    "bomb", [png(20000, 20000, 8, 2, bytes(9)), claiming_20000(encoded(".jpg"))]
)
def test_bomb_is_refused_from_its_header(tmp_path: Path, bomb: bytes) -> None:
    (tmp_path / "a").write_bytes(bomb)
    with pytest.raises(ImageError, match=r"1000000 pixels, found 20000x20000 .*--max-pixels"):
        images.read(tmp_path / "a", LIMIT)


def test_limit_is_inclusive(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(encoded(".png"))
    assert images.read(tmp_path / "a", 24 * 32).pixels.shape == (24, 32, 3)
    with pytest.raises(ImageError, match="32x24"):
        images.read(tmp_path / "a", 24 * 32 - 1)


TWO_PAGES = {"save_all": True, "append_images": [Image.new("RGB", (32, 24))]}
TRUNCATED = {
    f"cut-{share}{suffix}": encoded(suffix)[: int(len(encoded(suffix)) * share)]
    for suffix in (".png", ".jpg", ".tif", ".webp")
    for share in (0.1, 0.5, 0.8)
}
BAD_CONTENTS = TRUNCATED | {
    "empty.png": b"",
    "text.png": b"hello, this is text\n",
    "other.png": encoded(".jp2"),
    "int32.tif": encoded(".tif", "I"),
    "scale.tif": encoded(".tif", "F"),
    "pages.tif": encoded(".tif", **TWO_PAGES),
    "anim.webp": encoded(".webp", **TWO_PAGES),
}


@pytest.mark.parametrize("name", BAD_CONTENTS)
def test_bad_content_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(BAD_CONTENTS[name])
    with pytest.raises(ImageError, match=f"^cannot read [^\n]*{name}: [^\n]*$"):
        images.read(tmp_path / name, LIMIT)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("empty.png", "found an empty file"),
        ("text.png", "starts with b'hello, t'"),
        ("int32.tif", "found 1 b-w channels of int"),
        ("scale.tif", r"in 0\.\.1, found 0\.\.\d+"),
        ("pages.tif", "expected one page, found 2"),
        ("anim.webp", "an animation of 2 frames"),
        ("other.png", "found JPEG 2000; convert it first"),
    ],
)
def test_refusal_says_what_was_found(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / name).write_bytes(BAD_CONTENTS[name])
    with pytest.raises(ImageError, match=message):
        images.read(tmp_path / name, LIMIT)


@pytest.mark.parametrize("name", ["missing.png", "", "file/below.png", "n" * 300])
def test_unreadable_path_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ImageError, match=r"^cannot read"):
        images.read(tmp_path / name, LIMIT)


def test_refusals_leave_stderr_clean(tmp_path: Path) -> None:
    for name, content in BAD_CONTENTS.items():
        (tmp_path / name).write_bytes(content)
    code = """
import pathlib, sys
from pcsr import errors, images
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    try:
        images.read(path, 10**6)
    except errors.ImageError as error:
        print(error)
"""
    done = run_python(code, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == len(BAD_CONTENTS)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_full_disk(tmp_path: Path, suffix: str) -> None:
    target = tmp_path / f"a{suffix}"
    target.write_bytes(b"old")
    code = """
import pathlib, resource, signal, sys
import numpy as np
from pcsr import errors, images
noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    images.write(images.Picture(noise), pathlib.Path(sys.argv[1]), overwrite=True)
except errors.OutputError as error:
    print(error)
"""
    done = run_python(code, target)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"cannot write {target}: ")
    assert done.stdout.count("\n") == 1
    assert list(tmp_path.iterdir()) == [target]
    assert target.read_bytes() == b"old"


def test_existing_file_needs_overwrite(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"old")
    with pytest.raises(OutputError, match="--overwrite"):
        images.write(Picture(ramp()), tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes() == b"old"
    images.write(Picture(ramp()), tmp_path / "a.png", overwrite=True)
    np.testing.assert_array_equal(images.read(tmp_path / "a.png", LIMIT).pixels, ramp())


UNWRITABLE = [
    ("a.bmp", (8, 8), UsageError, ".png .jpg .jpeg .jfif .tif .tiff .webp"),
    ("a", (8, 8), UsageError, ".png"),
    ("a.JPG", (8, 8, 4), ImageError, "no alpha; write PNG, TIFF or WebP"),
    ("a.jpeg", (8, 8, 2), ImageError, "no alpha"),
    ("a.jpg", (65501, 1), ImageError, "at most 65500 pixels a side, found 1x65501"),
    ("a.webp", (1, 16384), ImageError, "at most 16383 pixels a side, found 16384x1"),
    ("missing/a.png", (8, 8), OutputError, "missing"),
    ("file/a.png", (8, 8), OutputError, "file"),
    ("folder.png", (8, 8), OutputError, "directory"),
    ("old.png", (8, 8), OutputError, "--overwrite"),
]


def check_only(path: Path, shape: tuple[int, ...]) -> None:
    images.check_output(path, overwrite=False, shape=shape)


def write_black(path: Path, shape: tuple[int, ...]) -> None:
    images.write(Picture(np.zeros(shape, np.uint8)), path)


@pytest.mark.parametrize("attempt", [check_only, write_black])
@pytest.mark.parametrize(("name", "shape", "error", "message"), UNWRITABLE)
def test_unwritable_output_is_refused(
    tmp_path: Path,
    name: str,
    shape: tuple[int, ...],
    error: type[PcsrError],
    message: str,
    attempt: Callable[[Path, tuple[int, ...]], None],
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "old.png").touch()
    (tmp_path / "folder.png").mkdir()
    before = sorted(tmp_path.iterdir())
    with pytest.raises(error, match=re.escape(message)):
        attempt(tmp_path / name, shape)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("suffix", [*ALL_SUFFIXES, ".PNG", ".Tiff"])
def test_known_suffixes_in_any_case(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    images.check_output(path, overwrite=False, shape=(24, 32, 3))
    assert through(path, ramp()).shape == (24, 32, 3)
    images.check_output(path, overwrite=True)


@pytest.mark.parametrize("quality", [0, 101])
def test_quality_out_of_range(tmp_path: Path, quality: int) -> None:
    with pytest.raises(UsageError, match=f"1 to 100, found {quality}"):
        images.write(Picture(ramp()), tmp_path / "a.jpg", quality=quality)


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((2, 2)),
        np.zeros(4, np.uint8),
        np.zeros((2, 2, 5), np.uint8),
        np.zeros((0, 2), "u1"),
    ],
)
def test_picture_refuses_other_layouts(pixels: np.ndarray) -> None:
    with pytest.raises(ImageError, match="expected pixels"):
        Picture(pixels)


@pytest.fixture
def gallery(tmp_path: Path) -> Path:
    for name in ("b.png", "a.JPG", "notes.txt", ".hidden.png", "sub/c.tif", ".cache/d.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path)
    return tmp_path


def test_find_images(gallery: Path) -> None:
    flat = images.find_images([gallery])
    assert list(flat.items()) == [(gallery / name, Path(name)) for name in ("a.JPG", "b.png")]
    deep = images.find_images([gallery], recursive=True)
    assert list(deep.values()) == [Path("a.JPG"), Path("b.png"), Path("sub/c.tif")]
    mixed = images.find_images([gallery / "notes.txt", gallery / "sub", gallery / "sub" / "c.tif"])
    assert list(mixed.values()) == [Path("notes.txt"), Path("c.tif")]


@pytest.mark.parametrize(
    ("name", "message"),
    [("missing", "check it"), ("folder.png", "--recursive"), ("b.png/x", "Not a")],
)
def test_find_images_refuses(gallery: Path, name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        images.find_images([gallery / name])
