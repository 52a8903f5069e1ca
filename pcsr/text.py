"""Text that people type and read: sizes, and messages of one line."""

import re

from pcsr.errors import UsageError


def parse_size(text: str) -> tuple[int, int]:
    """(height, width) of an input image, from HEIGHTxWIDTH.

    Raises:
        UsageError: anything else.
    """
    match = re.fullmatch(r"([1-9][0-9]{0,8})x([1-9][0-9]{0,8})", text.lower())
    if match is None:
        raise UsageError(f"unknown size {text!r}; expected HEIGHTxWIDTH of the input, as 276x420")
    return int(match[1]), int(match[2])


def one_line(text: str) -> str:
    """Without line breaks and other control characters, which file names and files may hold."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f]+", " ", text).strip()
