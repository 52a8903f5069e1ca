"""JSON with nothing in it that surprises its reader."""

import pytest

from pcsr.reading.json import number, parse_json, text

REFUSED = {
    "digits": (b'{"a": 1' + b"0" * 400 + b"}", "a number of 401 digits"),
    "65-bits": (b"[9223372036854775808]", "a number of 19 digits"),
    "nan": (b"[NaN]", "the number NaN"),
    "infinite": (b"[1e999]", "the number 1e999"),
    "deep": (b"[" * 40 + b"]" * 40, "more than 32 levels"),
    "very-deep": (b"[" * 100_000, "more than 32 levels"),
    "twice": (b'{"a": 1, "a": 2}', "a key twice"),
    "newline": (b'{"a": "b\\nc"}', "control characters"),
    "nul-in-a-key": (b'{"a\\u0000": 1}', "control characters"),
    "half-a-character": (b'["\\ud800"]', "control characters"),
    "cut": (b'{"a":', "not JSON"),
    "no-utf8": (b'"\xff"', "not JSON"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    data, reason = REFUSED[case]
    with pytest.raises(ValueError, match=reason) as caught:
        parse_json(data)
    assert len(str(caught.value).splitlines()) == 1


def test_taken() -> None:
    data = b'{"a": [1, -2.5, 9223372036854775807, true, null], "b": "\xc3\xa4"}'
    assert parse_json(data) == {"a": [1, -2.5, 2**63 - 1, True, None], "b": "ä"}


@pytest.mark.parametrize("value", [True, "1", None, [1], 1e16, -1])
def test_what_is_no_number_within_bounds(value: object) -> None:
    with pytest.raises(ValueError, match="expected a number from 0"):
        number(value, 0)


@pytest.mark.parametrize("value", [1, None, "x" * 300])
def test_what_is_no_text(value: object) -> None:
    with pytest.raises(ValueError, match="expected a text"):
        text(value)
