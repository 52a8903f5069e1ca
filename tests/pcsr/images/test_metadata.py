"""What files say of their pixels is right for the upscaled picture, or left out."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.ExifTags import IFD

from pcsr import images
from pcsr.errors import ImageError
from pcsr.images import Metadata, Picture
from pcsr.images.exif import upright_exif
from pcsr.images.xmp import current_iptc, current_xmp

from .pictures import LIMIT, PROFILE, chunks_of, encoded, png, ramp, with_chunks

ORIENTATION, MAKE, COLOUR_SPACE, WIDTH, HEIGHT = 0x0112, 0x010F, 0xA001, 0xA002, 0xA003
SUBJECT, MAKER_NOTE, DATE = 0x9214, 0x927C, 0x9003
LR, HR = (24, 32), (64, 48)  # an upright portrait of twice the size


def camera_exif(order: str = "II") -> bytes:
    """EXIF as a camera writes it: sideways, with a thumbnail, without ColorSpace."""
    exif = Image.Exif()
    exif.endian = "<" if order == "II" else ">"
    exif[ORIENTATION], exif[MAKE] = 6, "Maker"
    details = exif.get_ifd(IFD.Exif)
    details[WIDTH], details[HEIGHT], details[SUBJECT] = 32, 24, (5, 6)
    details[MAKER_NOTE], details[DATE] = bytes(range(100)), "2020:01:01 10:00:00"
    exif.get_ifd(IFD.GPSInfo)[1] = "N"
    return with_thumbnail(exif.tobytes())


def with_thumbnail(exif: bytes) -> bytes:
    data = bytearray(exif.removeprefix(b"Exif\0\0"))
    order = "<" if data[:2] == b"II" else ">"
    (main,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, main)
    link, thumbnail = main + 2 + 12 * count, encoded(".jpg")
    struct.pack_into(f"{order}I", data, link, len(data))
    start = len(data) + 2 + 24 + 4
    data += struct.pack(f"{order}H", 2)
    data += struct.pack(f"{order}HHII", 0x0201, 4, 1, start)
    data += struct.pack(f"{order}HHII", 0x0202, 4, 1, len(thumbnail)) + bytes(4)
    return b"Exif\0\0" + bytes(data) + thumbnail


def upscaled(source: bytes, suffix: str, size: tuple[int, int] = HR) -> bytes:
    picture = images.read_bytes(source, LIMIT)
    return images.write_bytes(picture.with_pixels(ramp(size=size)), suffix)


@pytest.mark.parametrize("target", [".jpg", ".png", ".webp"])
@pytest.mark.parametrize("source", [".jpg", ".png", ".webp"])
@pytest.mark.parametrize("order", ["II", "MM"])
def test_exif_fits_the_upright_picture(source: str, target: str, order: str) -> None:
    made = upscaled(encoded(source, exif=camera_exif(order)), target)
    with Image.open(io.BytesIO(made)) as picture:
        exif = picture.getexif()
    details = exif.get_ifd(IFD.Exif)
    assert (exif[ORIENTATION], exif[MAKE]) == (1, "Maker")
    assert (details[WIDTH], details[HEIGHT]) == (HR[1], HR[0])
    assert COLOUR_SPACE not in details
    assert SUBJECT not in details
    assert details[MAKER_NOTE] == bytes(range(100))
    assert details[DATE] == "2020:01:01 10:00:00"
    assert exif.get_ifd(IFD.GPSInfo)[1] == "N"
    assert not exif.get_ifd(IFD.IFD1)
    assert made.count(b"\xff\xd8\xff") == (target == ".jpg")


@pytest.mark.parametrize("target", [".jpg", ".png", ".webp"])
def test_a_file_without_exif_gains_none(target: str) -> None:
    with Image.open(io.BytesIO(upscaled(encoded(".jpg"), target))) as picture:
        assert not picture.getexif()


@pytest.mark.parametrize("target", [".jpg", ".png", ".tif", ".webp"])
def test_resolution_is_kept(target: str) -> None:
    made = upscaled(encoded(".png", dpi=(300, 150)), target)
    with Image.open(io.BytesIO(made)) as picture:
        stated: Any = picture.info.get("dpi")
        if target == ".webp":  # it has no other place
            exif = picture.getexif()
            stated = (float(exif[0x011A]), float(exif[0x011B]))
    assert stated == pytest.approx((300, 150), abs=0.02)


@pytest.mark.parametrize("size", [(1, 1), (31, 17)])
@pytest.mark.parametrize("quality", [90, 100])
@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("icc", [None, PROFILE])
def test_exif_in_webp_leaves_the_pixels(
    size: tuple[int, int], quality: int, channels: int, icc: bytes | None
) -> None:
    pixels = ramp(channels, size=size)
    with_exif, without = (
        images.write_bytes(Picture(pixels, Metadata(icc=icc, exif=exif)), ".webp", quality)
        for exif in (camera_exif(), None)
    )
    assert len(with_exif) == 8 + int.from_bytes(with_exif[4:8], "little")
    with Image.open(io.BytesIO(with_exif)) as one, Image.open(io.BytesIO(without)) as other:
        assert one.mode == other.mode
        assert one.getexif()[MAKE] == "Maker"
        assert one.info.get("icc_profile") == icc
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


@pytest.mark.parametrize("cut", [0, 4, 8, 9, 30, 60])
def test_damaged_exif_is_left_out(cut: int) -> None:
    damaged = camera_exif()[: 6 + cut]
    assert upright_exif(damaged, HR) is None
    made = images.write_bytes(Picture(ramp(), Metadata(exif=damaged)), ".jpg")
    assert images.read_bytes(made, LIMIT).metadata.exif is None


def test_hostile_exif_ends() -> None:
    rng = np.random.default_rng(0)
    whole = bytearray(camera_exif())
    for _ in range(2000):
        data = whole.copy()
        for place in rng.integers(6, min(len(data), 400), 3):
            data[place] = rng.integers(256)
        made = upright_exif(bytes(data), HR)
        assert made is None or len(made) <= len(data)


MOTION = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF
 xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""
 xmlns:GCamera="http://ns.google.com/photos/1.0/camera/"
 xmlns:Container="http://ns.google.com/photos/1.0/container/"
 xmlns:Item="http://ns.google.com/photos/1.0/container/item/"
 xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/"
 xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:exif="http://ns.adobe.com/exif/1.0/"
 xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xmpNote="http://ns.adobe.com/xmp/note/"
 GCamera:MotionPhoto="1" GCamera:MotionPhotoVersion='1' GCamera:MicroVideoOffset="100"
 hdrgm:Version="1.0" tiff:Orientation="6" exif:PixelXDimension="32" xmpNote:HasExtendedXMP="AB"
 tiff:Make="Maker"><GCamera:MicroVideo>1</GCamera:MicroVideo>
 <Container:Directory><rdf:Seq><rdf:li rdf:parseType="Resource"><Container:Item
 Item:Mime="video/mp4" Item:Length="99"/></rdf:li></rdf:Seq></Container:Directory>
 <dc:title>A cat</dc:title></rdf:Description></rdf:RDF></x:xmpmeta>"""


@pytest.mark.parametrize("target", [".jpg", ".png", ".tif", ".webp"])
def test_xmp_does_not_promise_what_is_gone(target: str) -> None:
    kept = images.read_bytes(upscaled(encoded(".jpg", xmp=MOTION), target), LIMIT).metadata.xmp
    assert kept is not None
    for gone in (b"MotionPhoto", b"MicroVideo", b"hdrgm", b"Container", b"Item:", b"HasExtended"):
        assert gone not in kept
    assert b"Orientation" not in kept
    assert b"PixelXDimension" not in kept
    assert b'tiff:Make="Maker"' in kept
    assert b"<dc:title>A cat</dc:title>" in kept


def test_xmp_that_says_nothing_stale_is_kept_as_it_is() -> None:
    for xmp in (b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>", b"no XML", b""):
        assert current_xmp(xmp) == xmp


def test_xmp_that_cannot_be_cut_is_left_out() -> None:
    assert current_xmp(MOTION[:-20]) is None


def test_thumbnails_among_the_resources_of_photoshop_go() -> None:
    def resource(number: int, data: bytes) -> bytes:
        return b"8BIM" + struct.pack(">HHI", number, 0, len(data)) + data + bytes(len(data) % 2)

    caption = resource(0x0404, b"\x1c\x02\x78\0\5Hello")
    head = b"Photoshop 3.0\0"
    assert current_iptc(head + resource(1036, b"JPEG!") + caption) == head + caption
    assert current_iptc(b"other") == b"other"
    assert current_iptc(head + caption[:9]) == head


@pytest.mark.parametrize("version", [2, 4])
@pytest.mark.parametrize("extra", [0, 1, 2, 3])
@pytest.mark.parametrize("source", [".jpg", ".webp", ".tif"])
def test_a_profile_of_any_length_becomes_that_of_a_png(
    source: str, extra: int, version: int
) -> None:
    icc = bytearray(PROFILE + bytes(-len(PROFILE) % 4 + extra))
    icc[:4], icc[8] = struct.pack(">I", len(icc)), version
    made = upscaled(encoded(source, icc_profile=bytes(icc)), ".png")
    with Image.open(io.BytesIO(made)) as picture:
        found = picture.info["icc_profile"]
    assert found[4:84] == icc[4:84]
    assert found[128 : len(icc)] == icc[128:]
    assert len(found) % 4 == 0
    assert int.from_bytes(found[:4], "big") == len(found)
    assert images.read_bytes(made, LIMIT).metadata.icc == found  # libpng takes it


TEXTS = (
    (b"tEXt", b"parameters\0a cat, Steps: 20"),
    (b"zTXt", b"workflow\0\0" + zlib.compress(b"{}" * 500)),
    (b"iTXt", b"Title\0\0\0\0\0" + "Tëst".encode()),
)


def test_texts_of_a_png_are_kept() -> None:
    made = upscaled(with_chunks(encoded(".png"), *TEXTS), ".png")
    assert [chunk for chunk in chunks_of(made) if chunk[0] in (b"tEXt", b"zTXt", b"iTXt")] == [
        *TEXTS
    ]
    with Image.open(io.BytesIO(made)) as picture:
        assert picture.info["Title"] == "Tëst"


def test_texts_behind_the_pixels_are_kept() -> None:
    source = encoded(".png")
    end = len(source) - 12
    source = source[:end] + with_chunks(source[:33], TEXTS[0])[33:] + source[end:]
    assert TEXTS[0] in chunks_of(upscaled(source, ".png"))


@pytest.mark.parametrize("target", [".jpg", ".webp", ".tif"])
def test_text_that_is_left_out_is_named(target: str) -> None:
    picture = images.read_bytes(with_chunks(encoded(".png"), *TEXTS), LIMIT)
    warning = images.fitted(picture, Path(f"a{target}")).warnings
    assert warning == ("its text (parameters, workflow, Title) is left out; only PNG keeps it",)


Chunks = tuple[tuple[bytes, bytes], ...]
GAMMA = (b"gAMA", struct.pack(">I", 100_000))
WIDE = (b"cHRM", struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000))
PQ = (b"cICP", bytes([9, 16, 0, 1]))
SRGB = [
    (),
    ((b"gAMA", struct.pack(">I", 45455)),),
    (GAMMA, (b"sRGB", b"\0")),
    ((b"cICP", bytes([1, 13, 0, 1])), GAMMA),
]


@pytest.mark.parametrize("chunks", [(GAMMA,), (WIDE,), (PQ,), (PQ, GAMMA, WIDE)])
def test_values_that_are_not_srgb_keep_their_meaning(
    chunks: tuple[tuple[bytes, bytes], ...],
) -> None:
    picture = images.read_bytes(with_chunks(encoded(".png"), *chunks), LIMIT)
    np.testing.assert_array_equal(picture.pixels, ramp())
    found = chunks_of(images.write_bytes(picture, ".png"))
    assert [chunk for chunk in found if chunk in chunks] == [*chunks]
    for suffix in (".jpg", ".webp", ".tif"):
        with pytest.raises(ImageError, match=r"chunk .*not those of sRGB.*write PNG, or convert"):
            images.write_bytes(picture, suffix)


@pytest.mark.parametrize("chunks", SRGB)
def test_srgb_is_written_in_all_formats(chunks: Chunks) -> None:
    picture = images.read_bytes(with_chunks(encoded(".png"), *chunks), LIMIT)
    for suffix in (".png", ".jpg", ".webp", ".tif"):
        assert images.read_bytes(images.write_bytes(picture, suffix), LIMIT)


def test_a_profile_counts_more_than_gamma() -> None:
    source = with_chunks(encoded(".png", icc_profile=PROFILE), GAMMA)
    made = upscaled(source, ".jpg")
    assert images.read_bytes(made, LIMIT).metadata.icc == PROFILE


def test_opaque_alpha_is_dropped_for_jpeg() -> None:
    for dtype, channels in (("uint8", 4), ("uint16", 2), ("float32", 4)):
        pixels = ramp(channels, dtype)
        pixels[..., -1] = {"uint8": 255, "uint16": 65535, "float32": 1}[dtype]
        made = images.read_bytes(images.write_bytes(Picture(pixels), ".jpg"), LIMIT)
        assert made.pixels.shape == (LR if channels == 2 else (*LR, 3))
        pixels[3, 4, -1] = 0
        with pytest.raises(ImageError, match="no alpha; write PNG, TIFF or WebP"):
            images.write_bytes(Picture(pixels), ".jpg")


def test_resolutions_that_cannot_be_are_left_out() -> None:
    source = with_chunks(encoded(".png"), (b"pHYs", struct.pack(">IIB", 2**31 - 1, 0, 1)))
    resolution = images.read_bytes(source, LIMIT).metadata.resolution
    assert resolution == pytest.approx((72 / 25.4, 72 / 25.4))


def test_grey_of_one_pixel_has_its_chunks() -> None:
    made = images.write_bytes(Picture(np.zeros((1, 1), np.uint8), Metadata(chunks=TEXTS)), ".png")
    assert images.read_bytes(made, LIMIT).metadata.chunks == TEXTS
    assert png(1, 1, 8, 0, b"\0\0")[:33] == made[:33]
