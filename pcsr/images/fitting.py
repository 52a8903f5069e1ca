"""What of a picture a format can hold."""

from dataclasses import replace
from pathlib import Path

from pcsr.errors import ImageError

from .formats import check_fits, format_of
from .picture import Picture
from .png_chunks import TEXT, foreign_colours

_OPAQUE = {"uint8": 255, "uint16": 65535, "float32": 1.0}


def fitted(picture: Picture, path: Path) -> Picture:
    """Returns what can be written of a picture to `path`: without alpha where the format has none
    and the picture is opaque. Text of a PNG that is left out is named in `warnings`.

    Examples:
        >>> from pcsr.images import Picture, fitted
        >>> opaque = np.dstack([photo, np.full(photo.shape[:2], 255, np.uint8)])
        >>> fitted(Picture(opaque), Path("a.jpg")).pixels.shape
        (27, 40, 3)

    Raises:
        UsageError: unknown suffix.
        ImageError: the format cannot hold its alpha, its size, or what its values mean.
    """
    form = format_of(path)
    pixels, chunks = picture.pixels, picture.metadata.chunks
    if picture.has_alpha and not form.alpha and _is_opaque(picture):
        picture = picture.with_pixels(pixels[..., 0] if pixels.shape[2] == 2 else pixels[..., :3])
    check_fits(path, form, picture.pixels.shape)
    if form.name == "PNG" or not chunks:
        return picture
    colours = foreign_colours(chunks, picture.metadata.icc is not None)
    if colours:
        raise ImageError(
            f"cannot write {path}: {colours}, so its values are not those of sRGB, and {form.name} "
            "cannot say so here; write PNG, or convert it to sRGB first"
        )
    warnings = picture.warnings
    names = [data.split(b"\0")[0].decode("latin-1") for kind, data in chunks if kind in TEXT]
    if names:
        warnings += (f"its text ({', '.join(names[:8])}) is left out; only PNG keeps it",)
    kept = replace(picture.metadata, chunks=())
    return replace(picture, metadata=kept, warnings=warnings)


def _is_opaque(picture: Picture) -> bool:
    return bool((picture.pixels[..., -1] >= _OPAQUE[picture.pixels.dtype.name]).all())
