"""What the commands share."""

import pytest

from pcsr import UsageError
from pcsr.text import parse_size


@pytest.mark.parametrize(
    "text",
    ["", "x", "8", "8x", "x8", "8x8x8", "0x8", "-1x8", "8 x8", "²x8", "8x1000000000"],
)
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(UsageError, match=f"^unknown size '{text}'; expected HEIGHTxWIDTH"):
        parse_size(text)


def test_sizes_are_height_and_width() -> None:
    assert parse_size("540X960") == parse_size("540x960") == (540, 960)
