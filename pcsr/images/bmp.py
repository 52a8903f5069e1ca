"""BMP files, which libvips cannot read: through Pillow."""

from typing import BinaryIO

import numpy as np

from pcsr.errors import ImageError
from pcsr.text import one_line

from .picture import DPI_72, Metadata, Picture, refuse_large, sensible_resolution

_MM_PER_INCH = 25.4


def read_bmp(file: BinaryIO, max_pixels: int) -> Picture:
    """Decodes a BMP. Its size is checked before.

    Raises:
        ImageError: it is damaged, or has more than `max_pixels`.
    """
    from PIL import BmpImagePlugin

    file.seek(0)
    try:
        with BmpImagePlugin.BmpImageFile(file) as image:
            refuse_large(image.size, max_pixels)
            mode = {"1": "L", "L": "L", "RGBA": "RGBA"}.get(image.mode, "RGB")
            pixels = np.asarray(image.convert(mode))
            dpi = image.info.get("dpi")
    except (OSError, ValueError, SyntaxError, IndexError, KeyError, EOFError) as error:
        raise ImageError(
            f"damaged, incomplete or of a rare kind ({one_line(str(error))})"
        ) from error
    stated = (dpi[0] / _MM_PER_INCH, dpi[1] / _MM_PER_INCH) if dpi else DPI_72
    return Picture(pixels, Metadata(resolution=sensible_resolution(stated)))
