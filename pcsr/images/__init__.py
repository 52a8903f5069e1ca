"""Image files in and out, through libvips: PNG, JPEG, TIFF and WebP; GIF, AVIF and BMP are only
read.
"""

from .fitting import fitted
from .formats import SUFFIXES, SUFFIXES_READ, SUFFIXES_WRITTEN, find_images
from .picture import Metadata, Picture
from .reading import read, read_bytes
from .writing import check_output, row_writer, write, write_bytes

__all__ = [
    "SUFFIXES",
    "SUFFIXES_READ",
    "SUFFIXES_WRITTEN",
    "Metadata",
    "Picture",
    "check_output",
    "find_images",
    "fitted",
    "read",
    "read_bytes",
    "row_writer",
    "write",
    "write_bytes",
]
