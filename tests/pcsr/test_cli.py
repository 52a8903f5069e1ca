"""What the commands share."""

import pytest

from pcsr import UsageError
from pcsr.text import parse_size, size_text


@pytest.mark.parametrize(
    "text",
    ["", "x", "8", "8x", "x8", "8x8x8", "0x8", "-1x8", "8 x8", "²x8", "8x1000000000"],
)
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(UsageError, match=f"^unknown size '{text}'; expected WIDTHxHEIGHT"):
        parse_size(text)


def test_sizes_are_typed_as_width_and_height() -> None:
    assert parse_size("960X540") == parse_size("960x540") == (540, 960)
    assert size_text(parse_size("960x540")) == "960x540"
