"""Image files in and out: PNG, JPEG, TIFF and WebP through libvips."""

from .formats import SUFFIXES, find_images
from .picture import Metadata, Picture
from .reading import read
from .writing import check_output, row_writer, write

__all__ = [
    "SUFFIXES",
    "Metadata",
    "Picture",
    "check_output",
    "find_images",
    "read",
    "row_writer",
    "write",
]
