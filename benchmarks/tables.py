"""Tables of records."""

from collections.abc import Callable, Sequence
from typing import Any

from tabulate import tabulate

from .records import Record

Column = tuple[str, str | Callable[[Record], Any], str]
"""(head; key of a record, as `device_ms.p50`, or a function of it; format of a number)."""


def table(columns: Sequence[Column], records: Sequence[Record], form: str = "github") -> str:
    """Prints a row per record: text as it is, nothing for None; all but the first to the right."""
    head = [head for head, _, _ in columns]
    rows = [[_cell(record, key, number) for _, key, number in columns] for record in records]
    align = ("left", *["right"] * (len(head) - 1))
    return tabulate(rows, head, tablefmt=form, colalign=align, disable_numparse=True)


def _cell(record: Record, key: str | Callable[[Record], Any], form: str) -> str:
    value = value_of(record, key) if isinstance(key, str) else key(record)
    return value if isinstance(value, str) else "" if value is None else format(value, form)


def value_of(record: Record, key: str) -> Any:  # noqa: ANN401
    """Looks up a key, or `a.b` in what is under `a`; None where nothing is."""
    value: Any = record
    for part in key.split("."):
        value = (value or {}).get(part)
    return value
