"""Markdown tables."""

from collections.abc import Sequence

from tabulate import tabulate


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Text as it is; all but the first column to the right."""
    align = ("left", *["right"] * (len(head) - 1))
    return tabulate(rows, head, tablefmt="github", colalign=align, disable_numparse=True)


def number(value: float | None, form: str) -> str:
    """Empty for None."""
    return "" if value is None else format(value, form)
