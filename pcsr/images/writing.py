"""Writes image files, whole or row by row, through libvips."""

import errno
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import numpy as np
import pyvips

from pcsr.atomic import atomic_file, refuse_existing
from pcsr.errors import OutputError, UsageError
from pcsr.text import last_line

from .embedding import Embedded
from .exif import upright_exif
from .fitting import fitted
from .formats import BLOCKS, GREY, RGB, WHITE, Format, check_fits, format_of
from .picture import Metadata, Picture
from .png_feed import png_feed
from .vips import vips_calls
from .xmp import current_iptc, current_xmp

_SMALLEST_BLOCK = 4  # bytes; libvips crashes on an empty XMP
_KEPT = "icc|xmp|iptc"  # by libvips, which else makes EXIF of its own
_CLASSIC_TIFF_BYTES = 2**32 - 2**24  # 4 GiB, less what deflate may add to noise


def write(picture: Picture, path: Path, overwrite: bool = False, quality: int = 95) -> None:
    """Encodes `picture` in the format that the suffix names; the file appears whole or not at all.

    JPEG and WebP round to 8 bit and PNG rounds float32 to 16 bit, clipped to 0..1; TIFF keeps every
    dtype. `quality` (1..100) is for JPEG and WebP; WebP at 100 is lossless, and has no grey, only
    RGB. Left out: an ICC profile that is damaged or for other channels, EXIF in TIFF (by libvips),
    damaged EXIF or more than a JPEG's 64 KiB, and what EXIF, XMP and IPTC say of the original's
    pixels or of what its file held besides (thumbnails, a motion photo's video, gain maps).

    Examples:
        >>> from pcsr.images import Picture, write
        >>> write(Picture(photo), Path("copy.webp"), quality=90)

    Raises:
        UsageError: unknown suffix, or `quality` out of range.
        ImageError: the format cannot hold its alpha (unless all is opaque), an image of this size,
            or what a PNG's gAMA, cHRM or cICP says of its values.
        OutputError: `path` exists and `overwrite` is off, or it cannot be written (disk full, ...).
    """
    check_output(path, overwrite)
    picture = fitted(picture, path)
    _check_quality(quality)
    with atomic_file(path, overwrite) as temporary, temporary.open("w+b") as file:
        _write(picture, path, file, quality)


def write_bytes(picture: Picture, suffix: str, quality: int = 95) -> bytes:
    """Encodes `picture` in the format that `suffix` (".png") names, as `write` does.

    Examples:
        >>> from pcsr.images import Picture, write_bytes
        >>> write_bytes(Picture(photo), ".png")[:4]
        b'\\x89PNG'

    Raises:
        UsageError, ImageError, OutputError: as `write`.
    """
    path = Path(f"image{suffix}")
    picture = fitted(picture, path)
    _check_quality(quality)
    with TemporaryFile() as file:
        _write(picture, path, file, quality)
        file.seek(0)
        return file.read()


def _check_quality(quality: int) -> None:
    if not 1 <= quality <= 100:
        raise UsageError(f"expected a quality from 1 to 100, found {quality}")


def _write(picture: Picture, path: Path, file: IO[bytes], quality: int) -> None:
    form = format_of(path)
    try:
        with vips_calls():
            _save(_encodable(picture, form), picture.metadata, form, file, quality)
    except (pyvips.Error, OSError) as error:
        raise OutputError(f"cannot write {path}: {_reason(error)}") from error


@contextmanager
def row_writer(
    like: Picture, size: tuple[int, int], path: Path, overwrite: bool = False, quality: int = 95
) -> Iterator[Callable[[np.ndarray], None]]:
    """Writes a picture of `size` (height, width) as `write` does, from rows [n,w] or [n,w,3] that
    the yielded function is given from top to bottom. TIFF is tiled, and a BigTIFF.

    A thread encodes them meanwhile; a few megabytes of them are in memory. `like` gives channels
    (no alpha), dtype (uint8 or uint16) and metadata.

    Examples:
        >>> from pcsr import Upscaler
        >>> from pcsr.images import Picture, row_writer
        >>> with row_writer(Picture(photo), (108, 160), Path("large.png")) as take:
        ...     stats = Upscaler("carn-pcsr/").stream(photo, take, scale=4)

    Raises:
        UsageError, ImageError, OutputError: as `write`.
    """
    check_output(path, overwrite, (*size, *like.pixels.shape[2:]))
    like = fitted(like, path)
    with atomic_file(path, overwrite) as temporary, ThreadPoolExecutor(1, "pcsr-encode") as thread:
        outlet, inlet = os.pipe()
        failed: list[OutputError] = []
        encoding = thread.submit(_encode_rows, outlet, like.metadata, temporary, quality, failed)
        with os.fdopen(inlet, "wb") as pipe, png_feed(pipe, size, like.pixels) as feed:

            def take(rows: np.ndarray) -> None:
                if failed:
                    raise OutputError(f"cannot write {path}: {failed[0]}")
                feed(rows)

            yield take
        encoding.result()
        if failed:
            raise OutputError(f"cannot write {path}: {failed[0]}")


def _encode_rows(
    outlet: int, metadata: Metadata, temporary: Path, quality: int, failed: list[OutputError]
) -> None:
    with os.fdopen(outlet, "rb") as pipe, temporary.open("w+b") as file, vips_calls():
        try:
            source = pyvips.Source.new_from_descriptor(pipe.fileno())
            rows = pyvips.Image.pngload_source(
                source, access="sequential", fail_on="truncated", unlimited=True
            )
            _save(rows, metadata, format_of(temporary), file, quality, streamed=True)
        except (pyvips.Error, OSError) as error:
            failed.append(OutputError(_reason(error)))
            while pipe.read(2**20):  # or the writer would wait for ever
                pass


def check_output(path: Path, overwrite: bool, shape: tuple[int, ...] | None = None) -> None:
    """Raises, before the computation starts, what `write` would raise after it.

    `shape` is that of the coming pixels, [H,W] or [H,W,C]; None while it is not known.

    Examples:
        >>> from pcsr.images import check_output
        >>> check_output(Path("out.png"), overwrite=False, shape=(108, 160, 3))
    """
    form = format_of(path)
    if shape is not None:
        check_fits(path, form, shape)
    if not (os.path.isdir(path.parent) and os.access(path.parent, os.W_OK | os.X_OK)):
        raise OutputError(f"cannot write {path}: {path.parent} is no folder that can be written to")
    refuse_existing(path, overwrite)


def _encodable(picture: Picture, form: Format) -> pyvips.Image:
    image = pyvips.Image.new_from_array(np.ascontiguousarray(picture.pixels))
    if image.format not in form.samples:
        deepest = form.samples[-1]
        image = image.linear(WHITE[deepest] / WHITE[image.format], 0).rint().cast(deepest)
    return image


def _save(
    image: pyvips.Image,
    metadata: Metadata,
    form: Format,
    file: IO[bytes],
    quality: int,
    streamed: bool = False,
) -> None:
    exif = metadata.exif and upright_exif(metadata.exif, (image.height, image.width))
    blocks = _kept_blocks(metadata, image.bands)
    icc = blocks.pop("icc", None) if form.name == "PNG" else None
    embedded = Embedded(form, exif or None, icc, metadata)
    embedded.leave_room(file)
    _encode(_described(image, metadata, blocks), form, file, quality, streamed)
    embedded.put_into(file)


def _described(
    image: pyvips.Image, metadata: Metadata, blocks: Mapping[str, bytes]
) -> pyvips.Image:
    xres, yres = metadata.resolution
    space = (GREY if image.bands < 3 else RGB)[image.format]
    image = image.copy(interpretation=space, xres=xres, yres=yres)
    for key, block in blocks.items():
        image.set_type(pyvips.GValue.blob_type, BLOCKS[key], block)
    image.set_type(pyvips.GValue.gint_type, "orientation", 1)
    return image


def _kept_blocks(metadata: Metadata, channels: int) -> dict[str, bytes]:
    """Returns the blocks that libvips writes as they are; it would change EXIF."""
    icc, xmp = metadata.icc or b"", metadata.xmp and current_xmp(metadata.xmp)
    blocks = {"xmp": xmp or b"", "iptc": current_iptc(metadata.iptc or b"")}
    profile_space = b"GRAY" if channels < 3 else b"RGB "
    stated = (int.from_bytes(icc[:4], "big"), icc[16:20], icc[36:40])
    if stated == (len(icc), profile_space, b"acsp"):
        blocks["icc"] = icc
    return {key: block for key, block in blocks.items() if len(block) >= _SMALLEST_BLOCK}


def _encode(
    image: pyvips.Image, form: Format, file: IO[bytes], quality: int, streamed: bool
) -> None:
    target = pyvips.Target.new_to_descriptor(file.fileno())
    if form.name == "PNG":
        image.pngsave_target(target, compression=3, filter="up", keep=_KEPT)
    elif form.name == "JPEG":
        subsample = "off" if quality >= 90 else "on"
        image.jpegsave_target(target, Q=quality, subsample_mode=subsample, keep=_KEPT)
    elif form.name == "WebP":
        lossless = quality == 100
        image.webpsave_target(target, Q=quality, lossless=lossless, exact=True, keep=_KEPT)
    else:
        predictor = "float" if image.format == "float" else "horizontal"
        sample = {"uchar": 1, "ushort": 2, "float": 4}[image.format]
        large = image.width * image.height * image.bands * sample > _CLASSIC_TIFF_BYTES
        options = {"tile": True, "tile_width": 256, "tile_height": 256} if streamed else {}
        image.tiffsave_target(
            target,
            compression="deflate",
            predictor=predictor,
            bigtiff=large or streamed,
            **options,
        )


def _reason(error: Exception) -> str:
    """Returns what the system said where it refused to write, else libvips's last line."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    said = str(error)
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EPIPE):
        if os.strerror(number) in said:
            full = " (disk full)" if number in (errno.ENOSPC, errno.EDQUOT) else ""
            return os.strerror(number) + full
    return last_line(error)
