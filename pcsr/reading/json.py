"""JSON, in as much of it as a bundle needs: numbers of 64 bits, names that can be printed."""

import json
import math
import re
from typing import Any

MOST_DEPTH = 32
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
