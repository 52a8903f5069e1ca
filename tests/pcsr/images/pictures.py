"""Pictures and files of them, made by Pillow or by hand."""

import io
import struct
import zlib

import numpy as np
from PIL import Image, ImageCms

LIMIT = 10**6
PROFILE: bytes = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def ramp(channels: int = 3, dtype: str = "uint8", size: tuple[int, int] = (24, 32)) -> np.ndarray:
    """A smooth picture that differs in every channel and under every flip."""
    y, x = np.mgrid[0 : size[0], 0 : size[1]] / 64
    planes = np.stack([x, y, (x + y) / 2, 0.5 + x / 2][:channels], axis=-1)
    scaled = planes if dtype == "float32" else np.rint(planes * np.iinfo(dtype).max)
    return scaled.astype(dtype)[..., 0] if channels == 1 else scaled.astype(dtype)


def encoded(suffix: str, mode: str = "RGB", /, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture = Image.fromarray(ramp()).convert(mode)
    picture.save(buffer, Image.registered_extensions()[suffix], **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    checksum = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + checksum


def with_chunks(png: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """The PNG with these behind its header."""
    return png[:33] + b"".join(chunk(*one) for one in chunks) + png[33:]


def chunks_of(png: bytes) -> list[tuple[bytes, bytes]]:
    """Kind and data of each chunk, whose checksums must be right."""
    found, place = [], 8
    while place < len(png):
        length, kind = struct.unpack_from(">I4s", png, place)
        data = png[place + 8 : place + 8 + length]
        assert png[place : place + 12 + length] == chunk(kind, data)
        found.append((kind, data))
        place += 12 + length
    return found


def png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def tiff(data: bytes, **tags: tuple[int, int, int]) -> bytes:
    """A TIFF of 10x10 grey pixels; tags (as _258) are type, count and value, where not as usual."""
    usual = {256: (3, 1, 10), 257: (3, 1, 10), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1)}
    usual |= {273: (4, 1, 300), 277: (3, 1, 1), 278: (3, 1, 10), 279: (4, 1, len(data))}
    usual |= {int(name[1:]): value for name, value in tags.items()}
    entries = [struct.pack("<HHII", tag, *value) for tag, value in sorted(usual.items())]
    head = b"II*\0" + struct.pack("<IH", 8, len(entries)) + b"".join(entries)
    return head.ljust(300, b"\0") + data
