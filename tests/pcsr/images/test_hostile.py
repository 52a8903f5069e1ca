"""Files made to harm: each ends in one clear line, soon and in little memory."""

import os
import socket
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pcsr import images
from pcsr.errors import ImageError, OutputError
from pcsr.images import Metadata, Picture

from .pictures import LIMIT, PROFILE, chunk, encoded, png, tiff, with_chunks

MUTATIONS = 150
MOST_MEMORY = 2**31  # bytes of address space beyond what the modules take
CHILD = """
import pathlib, random, resource, struct, sys, warnings, zlib
from pcsr import errors, images

warnings.simplefilter("error")
source = pathlib.Path(sys.argv[1]).read_bytes()
taken = int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + int(sys.argv[3]),) * 2)

def mutated(number):
    chance, data = random.Random(number), bytearray(source)
    for _ in range(chance.choice([1, 1, 2, 5, 20])):
        place = chance.randrange(chance.choice([len(data), min(len(data), 300)]))
        way = chance.randrange(4)
        if way == 0:
            data[place] = chance.randrange(256)
        elif way == 1:
            del data[place : place + chance.choice([1, 2, 50])]
        elif way == 2:
            data[place:place] = chance.randbytes(chance.choice([1, 4, 50]))
        else:
            data[place : place + 4] = chance.choice([b"\\xff" * 4, bytes(4), b"\\x7f\\xff" * 2])
    return rightly_summed(data) if data[1:4] == b"PNG" else bytes(data)

def rightly_summed(data):
    place = 8
    while place + 12 <= len(data):
        end = place + 8 + int.from_bytes(data[place : place + 4], "big")
        data[end : end + 4] = struct.pack(">I", zlib.crc32(data[place + 4 : end]))
        place = end + 4
    return bytes(data)

for number in range(int(sys.argv[2])):
    try:
        picture = images.read_bytes(mutated(number), 10**6, "a", accept_damaged=number % 2 == 0)
        for suffix in (".png", ".jpg", ".tif", ".webp"):
            again = images.write_bytes(picture, suffix)
            assert images.read_bytes(again, 10**6).pixels.size
    except errors.ImageError as error:
        assert len(str(error).splitlines()) == 1, error
print("done")
"""
EXIF = b"Exif\0\0II*\0\x08\0\0\0\1\0\x0f\1\2\0\6\0\0\0\x1a\0\0\0\0\0\0\0Maker\0"
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'
VALID = {
    "rgb.png": with_chunks(encoded(".png"), (b"tEXt", b"a\0b"), (b"gAMA", bytes(3) + b"\x09")),
    "palette.png": encoded(".png", "P"),
    "exif.jpg": encoded(".jpg", exif=EXIF, icc_profile=PROFILE, xmp=XMP),
    "cmyk.jpg": encoded(".jpg", "CMYK"),
    "progressive.jpg": encoded(".jpg", progressive=True),
    "exif.webp": encoded(".webp", exif=EXIF, icc_profile=PROFILE),
    "lossless.webp": encoded(".webp", "RGBA", lossless=True),
    "deflate.tif": encoded(".tif", compression="tiff_deflate"),
    "jpeg.tif": encoded(".tif", compression="jpeg"),
    "two.tif": encoded(".tif", "P", save_all=True),
    "a.gif": encoded(".gif", "P"),
    "a.avif": encoded(".avif", exif=EXIF),
    "a.bmp": encoded(".bmp"),
    "palette.bmp": encoded(".bmp", "P"),
}


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is limited on Linux")
@pytest.mark.parametrize("name", VALID)
def test_mutations_end_in_image_errors(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(VALID[name])
    command = [sys.executable, "-c", CHILD, str(tmp_path / name), str(MUTATIONS), str(MOST_MEMORY)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "done\n")


LARGE = zlib.compress(bytes(2**28), 9)
ROWS = bytes(31) * 10
SMALL = png(10, 10, 8, 2, ROWS)
BOMBS = {
    "zTXt": with_chunks(SMALL, (b"zTXt", b"a\0\0" + LARGE)),
    "iTXt": with_chunks(SMALL, (b"iTXt", b"a\0\1\0\0\0" + LARGE)),
    "iCCP": with_chunks(SMALL, (b"iCCP", b"a\0\0" + LARGE)),
    "IDAT": SMALL[:33] + chunk(b"IDAT", LARGE) + SMALL[-12:],
    "texts": with_chunks(SMALL, *[(b"tEXt", b"a\0" + bytes(1000))] * 20_000),
    "eXIf": with_chunks(SMALL, (b"eXIf", b"II*\0\x08\0\0\0\xff\xff" + bytes(10**7))),
    "deflate": tiff(LARGE, _259=(3, 1, 8)),
    "strip": tiff(bytes(100), _279=(4, 1, 2**32 - 1)),
    "samples": tiff(bytes(100), _277=(3, 1, 65535)),
    "tags": tiff(bytes(100), _273=(4, 2**30, 200), _279=(4, 2**30, 200)),
    "tile": tiff(bytes(100), _322=(4, 1, 8192), _323=(4, 1, 8192), _324=(4, 1, 300)),
    "canvas.gif": b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0) + b"\x2c" + bytes(10),
    "offset.gif": b"GIF89a\x0a\0\x0a\0\0\0\0\x2c"
    + struct.pack("<HHHHB", *[60000] * 4, 0)
    + b"\2\0;",
    "canvas.webp": b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\xff" * 6,
    "box.avif": b"\0\0\0\x14ftypavif\0\0\0\0avif\0\0\0\1meta\x7f" + b"\xff" * 7,
    "size.bmp": b"BM" + struct.pack("<IIIIiiHH", 54, 0, 54, 40, 2**31 - 1, -(2**31), 1, 24),
    "loop.tif": b"II*\0\x08\0\0\0\1\0" + struct.pack("<HHIII", 256, 3, 1, 10, 8),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_take_little(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(BOMBS[name])
    code = """
import pathlib, resource, sys
from pcsr import errors, images
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    images.write_bytes(images.read(pathlib.Path(sys.argv[1]), 10**8), ".png")
except errors.ImageError as error:
    assert len(str(error).splitlines()) == 1, error
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    command = [sys.executable, "-c", code, str(tmp_path / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) < 300 * 1024  # KiB


def test_messages_that_are_no_text_spoil_nothing(tmp_path: Path) -> None:
    """libvips quotes bytes of the file; pyvips would fail at them, and at all that follows."""
    turned = Image.Exif()
    turned[0x0112] = 6
    quoted = encoded(".avif", exif=turned).replace(b"irot", b"ir\xeft")
    profile = PROFILE[:136] + b"\xff" * 4 + PROFILE[140:]  # a tag outside of it
    logged = with_chunks(encoded(".png"), (b"iCCP", b"IC\xa3\0\0" + zlib.compress(profile)))
    (tmp_path / "quoted.avif").write_bytes(quoted)
    (tmp_path / "logged.png").write_bytes(logged)
    code = """
import pathlib, sys
from pcsr import errors, images
print(images.read(pathlib.Path(sys.argv[1], "logged.png"), 10**6).pixels.shape)
try:
    images.read(pathlib.Path(sys.argv[1], "quoted.avif"), 10**6)
except errors.ImageError as error:
    print("ir\N{REPLACEMENT CHARACTER}t" in str(error))
print(images.read(pathlib.Path(sys.argv[1], "logged.png"), 10**6).pixels.shape)
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "(24, 32, 3)\nTrue\n(24, 32, 3)\n"


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.png")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "socket.png"))
    with listener:
        for path in ("fifo.png", "socket.png", ".", "/dev/zero"):
            with pytest.raises(ImageError, match="it is a folder or a device; name an image file"):
                images.read(tmp_path / path, LIMIT)


def test_a_name_with_a_null_byte_is_refused() -> None:
    with pytest.raises(ImageError, match=r"^cannot read"):
        images.read(Path("a\0.png"), LIMIT)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
def test_metadata_of_any_bytes_is_written_or_left_out(suffix: str) -> None:
    rng = np.random.default_rng(0)
    for length in (0, 1, 3, 4, 5, 130, 70_000):
        noise = rng.bytes(length)
        metadata = Metadata(icc=noise, exif=noise, xmp=noise, iptc=noise)
        made = images.write_bytes(Picture(np.zeros((5, 7, 3), np.uint8), metadata), suffix)
        assert images.read_bytes(made, LIMIT).pixels.shape == (5, 7, 3)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full to be a full disk")
def test_only_a_full_disk_is_called_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pcsr.images import writing

    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    for suffix in (".png", ".jpg", ".tif", ".webp"):
        with (
            Path("/dev/full").open("r+b", buffering=0) as full,
            pytest.raises(OutputError, match=r"No space left on device \(disk full\)$"),
        ):
            writing._write(Picture(noise), Path(f"a{suffix}"), full, 95)
        with (
            Path(__file__).open("rb") as read_only,
            pytest.raises(OutputError, match="cannot write a") as refused,
        ):
            writing._write(Picture(noise), Path(f"a{suffix}"), read_only, 95)
        assert "disk" not in str(refused.value)
