"""JSON, in as much of it as a bundle needs: numbers of 64 bits, names that can be printed."""

import json
import math
import re
from typing import Any

MOST_DEPTH = 32
MOST_TEXT = 256
UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029]")


def parse_json(data: bytes) -> Any:  # noqa: ANN401
    """Reads JSON.

    Raises:
        ValueError: it is not JSON, or it has a key twice, a number that does not fit 64 bits, NaN
            or infinity, control characters in a text, or more than 32 levels.
    """
    try:
        value = json.loads(
            data.decode("utf-8"),
            parse_int=_integer,
            parse_float=_float,
            parse_constant=_float,
            object_pairs_hook=_object,
        )
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"it is not JSON: {error}") from error
    except RecursionError:
        raise ValueError(f"it has more than {MOST_DEPTH} levels") from None
    level = [value]
    for _ in range(MOST_DEPTH):
        if not level:
            return value
        level = [inner for outer in level for inner in _within(outer)]
    raise ValueError(f"it has more than {MOST_DEPTH} levels")


def number(value: Any, least: float = -1e15, most: float = 1e15) -> float:  # noqa: ANN401
    """Takes a number of a JSON file, within bounds; else raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        found = json.dumps(value)
        raise ValueError(f"expected a number from {least:g} to {most:g}, found {found:.80}")
    return float(value)


def text(value: Any) -> str:  # noqa: ANN401
    """Takes a text of a JSON file, of at most 256 characters; else raises ValueError."""
    if not isinstance(value, str) or len(value) > MOST_TEXT:
        raise ValueError(f"expected a text, found {json.dumps(value):.80}")
    return value


def _integer(digits: str) -> int:
    if len(digits) > 20 or not -(2**63) <= int(digits) < 2**63:
        raise ValueError(f"it holds a number of {len(digits)} digits")
    return int(digits)


def _float(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"it holds the number {digits:.20}")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("it holds a key twice")
    return found


def _within(value: Any) -> list[Any]:  # noqa: ANN401
    if isinstance(value, str) and UNPRINTABLE.search(value):
        raise ValueError("it holds control characters in a text")
    if isinstance(value, dict):
        return [*value, *value.values()]
    return value if isinstance(value, list) else []
