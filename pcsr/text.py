"""Text that people type and read: sizes, and messages of one line."""

import re
from collections.abc import Sequence

from pcsr.errors import UsageError


def parse_size(text: str) -> tuple[int, int]:
    """Reads (height, width) from WIDTHxHEIGHT, the order in which people write sizes.

    Examples:
        >>> from pcsr.text import parse_size, size_text
        >>> parse_size("960x540"), size_text((540, 960))
        ((540, 960), '960x540')

    Raises:
        UsageError: anything else.
    """
    match = re.fullmatch(r"([1-9][0-9]{0,8})x([1-9][0-9]{0,8})", text.lower())
    if match is None:
        raise UsageError(f"unknown size {text!r}; expected WIDTHxHEIGHT, as 960x540")
    return int(match[2]), int(match[1])


def size_text(size: Sequence[int]) -> str:
    """Writes a size (height, width) as people read it, WIDTHxHEIGHT."""
    height, width = size
    return f"{width}x{height}"


def one_line(text: str) -> str:
    """Returns a text without line breaks and other control characters."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f]+", " ", text).strip()


def first_line(error: Exception) -> str:
    """Returns the first line of an error's message; the name of its kind where it has none."""
    return one_line(next(iter(str(error).strip().splitlines()), type(error).__name__))


def last_line(error: Exception) -> str:
    """Returns the last line of an error's message, where libvips says what was wrong."""
    return one_line([type(error).__name__, *str(error).strip().splitlines()][-1])


def shortened(text: str, most: int = 300) -> str:
    """Returns a text as one line of at most so many characters: for what a file says."""
    line = one_line(text)
    return line if len(line) <= most else f"{line[: most - 1]}…"
