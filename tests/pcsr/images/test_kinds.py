"""Kinds of files within the formats: what is taken, and what is refused with its reason."""

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
from numpy.typing import NDArray
from PIL import Image

from pcsr import images
from pcsr.errors import ImageError
from pcsr.images import Picture

from .pictures import LIMIT, PROFILE, chunk, encoded, ramp, tiff, with_chunks

tifffile = pytest.importorskip("tifffile")


def read(data: bytes) -> NDArray[Any]:
    return images.read_bytes(data, LIMIT, "a").pixels


def tiff_of(pixels: NDArray[Any], **options: Any) -> bytes:  # noqa: ANN401
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, **options)
    return buffer.getvalue()


def animated(suffix: str, mode: str = "RGB") -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (4, 24, 32, 3), dtype=np.uint8)
    first, *others = (Image.fromarray(frame).convert(mode) for frame in noise)
    buffer = io.BytesIO()
    kind = Image.registered_extensions()[suffix]
    first.save(buffer, kind, save_all=True, append_images=others, duration=40)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("suffix", "way_out"),
    [(".png", "ffmpeg"), (".gif", "ffmpeg"), (".avif", "ffmpeg"), (".webp", "webpmux")],
)
def test_animations_are_refused_alike(suffix: str, way_out: str) -> None:
    message = f"expected one picture, found an animation of 4 frames; extract .*{way_out}"
    with pytest.raises(ImageError, match=message):
        images.read_bytes(animated(suffix, "P" if suffix == ".gif" else "RGB"), LIMIT)


def test_png_of_one_frame_is_a_picture_if_it_is_the_one_that_shows() -> None:
    control = (b"acTL", struct.pack(">II", 1, 0))
    frame = (b"fcTL", struct.pack(">IIIIIHHBB", 0, 32, 24, 0, 0, 1, 1, 0, 0))
    np.testing.assert_array_equal(read(with_chunks(encoded(".png"), control, frame)), ramp())
    with pytest.raises(ImageError, match="an animation of 1 frames"):
        read(with_chunks(encoded(".png"), control))
    late = encoded(".png")[:-12] + chunk(*control) + encoded(".png")[-12:]
    np.testing.assert_array_equal(read(late), ramp())  # decoders leave it out there


@pytest.mark.parametrize(
    ("suffix", "mode", "kept"),
    [
        (".gif", "P", "RGB"),
        (".bmp", "RGB", "RGB"),
        (".bmp", "P", "RGB"),
        (".bmp", "L", "L"),
        (".bmp", "1", "L"),
        (".jfif", "L", "L"),
    ],
)
def test_formats_that_are_only_read(suffix: str, mode: str, kept: str) -> None:
    data = encoded(suffix, mode)
    with Image.open(io.BytesIO(data)) as picture:
        expected = np.asarray(picture.convert(kept))
    np.testing.assert_array_equal(read(data), expected)


def test_transparent_gif_has_alpha() -> None:
    expected = Image.fromarray(ramp()).quantize(8)
    buffer = io.BytesIO()
    expected.save(buffer, "GIF", transparency=3)
    with Image.open(io.BytesIO(buffer.getvalue())) as picture:
        alpha = np.asarray(picture.convert("RGBA"))[..., 3]
    np.testing.assert_array_equal(read(buffer.getvalue())[..., 3], alpha)


def test_bmp_has_limits_and_a_resolution(tmp_path: Path) -> None:
    data = encoded(".bmp", dpi=(300, 300))
    assert images.read_bytes(data, LIMIT).metadata.resolution == pytest.approx(
        (11.8, 11.8), abs=0.1
    )
    with pytest.raises(ImageError, match="pixels, found 32x24"):
        images.read_bytes(data, 24 * 32 - 1)
    with pytest.raises(ImageError, match="damaged, incomplete"):
        read(data[:-100])
    (tmp_path / "a.png").write_bytes(data)  # by content, whatever its name
    np.testing.assert_array_equal(images.read(tmp_path / "a.png", LIMIT).pixels, ramp())


@pytest.mark.parametrize("bits", [8, 10, 12])
def test_avif_keeps_its_depth(bits: int) -> None:
    pixels = ramp(3, "uint16")
    image = pyvips.Image.new_from_array(pixels).copy(interpretation="rgb16")
    data = image.heifsave_buffer(compression="av1", lossless=True, bitdepth=bits)
    found = read(data)
    assert found.dtype == (np.uint8 if bits == 8 else np.uint16)
    peak = np.iinfo(found.dtype).max
    assert np.abs(found / peak - pixels / 65535).max() < 0.02


def test_avif_of_wide_colours_says_so() -> None:
    data = bytearray(encoded(".avif"))
    place = data.index(b"colrnclx") + 8
    data[place : place + 4] = struct.pack(">HH", 9, 16)  # BT.2020 primaries, PQ
    picture = images.read_bytes(bytes(data), LIMIT)
    assert picture.metadata.chunks == ((b"cICP", bytes([9, 16, 0, 1])),)
    with pytest.raises(ImageError, match="write PNG"):
        images.write_bytes(picture, ".jpg")
    assert not images.read_bytes(encoded(".avif"), LIMIT).metadata.chunks
    profiled = encoded(".avif", icc_profile=PROFILE)
    assert not images.read_bytes(profiled, LIMIT).metadata.chunks


def pages(*kinds: int, **options: Any) -> bytes:  # noqa: ANN401
    """A TIFF of pages with these NewSubfileTypes; reduced ones are small."""
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer, **options) as writer:
        for kind in kinds:
            size = (6, 8) if kind & 1 else (24, 32)
            writer.write(ramp(size=size), photometric="rgb", subfiletype=kind, metadata=None)
    return buffer.getvalue()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("kinds", [(0, 1), (1, 0), (0, 1, 1), (2, 1), (0,), (2,)])
def test_thumbnails_are_no_pages(kinds: tuple[int, ...], big: bool, order: str) -> None:
    np.testing.assert_array_equal(read(pages(*kinds, bigtiff=big, byteorder=order)), ramp())


@pytest.mark.parametrize("kinds", [(0, 0), (2, 2), (0, 1, 0), (1, 0, 0)])
def test_pages_are_refused(kinds: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match="expected one page, found 2; extract one first"):
        read(pages(*kinds))


def test_a_mask_is_no_page() -> None:
    data = bytearray(pages(0, 1))
    place = data.rindex(struct.pack("<HHII", 254, 4, 1, 1))
    data[place + 8] = 4
    np.testing.assert_array_equal(read(bytes(data)), ramp())


def test_ten_thousand_pages_are_refused() -> None:
    page = tiff(bytes(100))[8:]
    count = struct.unpack_from("<H", page)[0]
    link = 2 + 12 * count
    data = bytearray(b"II*\0" + struct.pack("<I", 400))
    data = data.ljust(400, b"\0")
    for number in range(10_001):
        following = 400 + (number + 1) * (link + 4)
        data += page[:link] + struct.pack("<I", following if number < 10_000 else 0)
    with pytest.raises(ImageError, match="expected one page, found 10000 or more"):
        read(bytes(data))


def test_camera_raw_is_not_its_thumbnail() -> None:
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        small, large = ramp(size=(6, 8)), ramp()
        writer.write(small, photometric="rgb", subfiletype=1, subifds=1, metadata=None)
        writer.write(large, photometric="rgb", subfiletype=0, metadata=None)
    with pytest.raises(ImageError, match="raw data of a camera; develop it"):
        read(buffer.getvalue())
    with pytest.raises(ImageError, match="raw data of a camera; develop it"):
        read(tiff(bytes(100), _50706=(1, 4, 0x0401)))


def test_eight_bit_cielab_is_named() -> None:
    image = pyvips.Image.new_from_array(ramp()).copy(interpretation="srgb").colourspace("lab")
    message = "found 8-bit CIELab, which libvips cannot decode; convert it to RGB"
    with pytest.raises(ImageError, match=message):
        read(image.colourspace("labq").tiffsave_buffer())
    for kind in ("labs", "lab"):
        found = read(image.colourspace(kind).tiffsave_buffer())
        assert found.dtype == np.uint16
        assert np.abs(found / 65535 - ramp() / 255).max() < 0.02


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (tiff(bytes(300), _262=(3, 1, 6), _277=(3, 1, 3)), "YCbCr without JPEG compression"),
        (tiff(bytes(200), _262=(3, 1, 32803), _258=(3, 1, 16)), "interpretation 32803"),
        (tiff(bytes(200), _258=(3, 1, 12)), "found 12 bit unsigned"),
        (tiff(bytes(800), _258=(3, 1, 64), _339=(3, 1, 3)), "found 64 bit float"),
        (tiff(bytes(200), _277=(3, 1, 2), _284=(3, 1, 2)), "separate planes"),
        (tiff(bytes(400), _262=(3, 1, 0), _258=(3, 1, 32), _339=(3, 1, 3)), "inverted floats"),
        (tiff(bytes(400), _258=(3, 1, 32)), "found 1 b-w channels of uint"),
        (tiff(b"", _322=(4, 1, 2**30), _323=(4, 1, 2**30)), "tiles of at most 67108864 pixels"),
    ],
)
def test_tiffs_that_are_refused_say_why(data: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        read(data)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float16", "float32"])
@pytest.mark.parametrize("options", [{}, {"tile": (16, 16)}, {"planarconfig": "separate"}])
def test_tiffs_that_are_taken(dtype: str, options: dict[str, Any]) -> None:
    pixels = ramp(3, "float32" if dtype == "float16" else dtype).astype(dtype)
    given = np.moveaxis(pixels, -1, 0) if "planarconfig" in options else pixels
    data = tiff_of(np.ascontiguousarray(given), photometric="rgb", **options)
    if dtype == "float16" and "planarconfig" in options:  # libvips makes noise of it
        with pytest.raises(ImageError, match="separate planes"):
            read(data)
        return
    found = read(data)
    np.testing.assert_array_equal(found, pixels)


def test_ycbcr_in_jpeg_compression_is_rgb() -> None:
    found = read(encoded(".tif", compression="jpeg", quality=95))
    assert np.abs(found.astype(int) - ramp()).max() < 12


@pytest.mark.parametrize(
    ("start", "name"),
    [
        (b"\xff\x0a", "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"%PDF-1.7", "PDF"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"8BPS", "Photoshop"),
        (b"\x1a\x45\xdf\xa3", "a video"),
        (b"\0\0\0\x18ftypmp42", "a video"),
        (b"P6\n1 1\n255\n", "P6"),
    ],
)
def test_other_kinds_are_named_and_never_decoded(start: bytes, name: str) -> None:
    with pytest.raises(ImageError, match=f"or BMP, found .*{name}.*; convert it first"):
        read(start.ljust(40, b" "))


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
def test_damaged_files_are_taken_on_demand(suffix: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = images.write_bytes(Picture(noise), suffix, quality=100)
    damaged = bytearray(data)
    damaged[len(data) // 2 : len(data) // 2 + 200] = bytes(200)
    cut = bytes(damaged) if suffix == ".tif" else data[: len(data) * 3 // 4]
    if suffix == ".webp":  # libwebp gives nothing of an incomplete one
        with pytest.raises(ImageError, match="damaged, incomplete"):
            images.read_bytes(cut, LIMIT, accept_damaged=True)
        return
    with pytest.raises(ImageError, match="or pass --accept-damaged to take what can be decoded"):
        images.read_bytes(cut, LIMIT)
    picture = images.read_bytes(cut, LIMIT, accept_damaged=True)
    assert picture.pixels.shape == noise.shape
    assert picture.warnings == (
        "it is damaged or incomplete; what could be decoded of it was taken",
    )
    assert not images.read_bytes(data, LIMIT, accept_damaged=True).warnings


def test_a_jpeg_without_its_end_is_whole_on_demand() -> None:
    data = encoded(".jpg")
    assert data.endswith(b"\xff\xd9")
    whole = read(data)
    with pytest.raises(ImageError, match="--accept-damaged"):
        read(data[:-2])
    np.testing.assert_array_equal(
        images.read_bytes(data[:-2], LIMIT, accept_damaged=True).pixels, whole
    )
