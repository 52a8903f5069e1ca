"""Sizes of the large image, by name or as HEIGHTxWIDTH."""

import re

from pcsr.errors import UsageError

from .engines import SCALE

Size = tuple[int, int]
NAMED: dict[str, Size] = {
    "1104x1680": (1104, 1680),
    "1080p": (1080, 1920),
    "4k": (2160, 3840),
    "8k": (4320, 7680),
}
TINY = ("192x288", "212x308")


def parse_size(text: str) -> Size:
    """(height, width) of the large image.

    Raises:
        UsageError: neither a known name nor HEIGHTxWIDTH, multiples of the scale.
    """
    if text.lower() in NAMED:
        return NAMED[text.lower()]
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    height, width = (int(match[1]), int(match[2])) if match else (1, 1)
    if height % SCALE or width % SCALE:
        raise UsageError(
            f"unknown size {text!r}; expected {', '.join(NAMED)} or HEIGHTxWIDTH, "
            f"both multiples of {SCALE}"
        )
    return height, width
