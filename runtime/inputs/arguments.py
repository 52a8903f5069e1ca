"""Arguments of the Python interface: each has a row in a table, and one line where it is wrong."""

import math
import numbers
import os
import reprlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pcsr.errors import UsageError
from pcsr.text import one_line

LONGEST = 60  # characters of a value in a message


@dataclass(frozen=True)
class Argument:
    """Describes what one argument may be."""

    expected: str
    """What it must do, as "be from 1 to 256"."""
    taken: Callable[[Any], Any]
    """Gives the value in Python's own type; raises TypeError or ValueError for a wrong one."""
    optional: bool = False
    """Whether None is taken, and stays None."""
    advice: str = ""
    """What to do instead, as "use 0"."""


Arguments = Mapping[str, Argument]


def checked(given: Mapping[str, Any], arguments: Arguments) -> dict[str, Any]:
    """Gives the values in the types that their rows name; NumPy's scalars become Python's.

    Raises:
        UsageError: a name without a row, or a value that its row does not take.
    """
    refuse_unknown(given, arguments)
    return {name: _value(name, value, arguments[name]) for name, value in given.items()}


def refuse_unknown(given: Collection[str], known: Collection[str]) -> None:
    """Raises UsageError for the first name that is not known."""
    for name in given:
        if name not in known:
            raise UsageError(f"unknown option '{name}' (known: {', '.join(known)})")


def _value(name: str, value: Any, argument: Argument) -> Any:  # noqa: ANN401
    if value is None and argument.optional:
        return None
    try:
        return argument.taken(value)
    except (TypeError, ValueError, OverflowError) as error:
        advice = f"; {argument.advice}" if argument.advice else ""
        raise UsageError(
            f"{name} must {argument.expected}, found {shown(value)}{advice}"
        ) from error


def shown(value: Any) -> str:  # noqa: ANN401
    """Writes a value in one short line: numbers and texts as they are, of others the type."""
    if isinstance(value, np.generic):
        value = value.item()
    if not isinstance(value, str | bytes | numbers.Number | os.PathLike | None):
        return with_article(type(value).__name__)
    short = reprlib.Repr()
    short.maxstring = short.maxother = short.maxlong = LONGEST
    try:
        return one_line(short.repr(value))
    except ValueError:  # more digits than Python writes
        return "a number of too many digits"


def with_article(name: str) -> str:
    """Writes the name of a class as people read it: a list, an Event."""
    return f"{'an' if name[:1].lower() in set('aeio') else 'a'} {name}"


def number(
    expected: str, fits: Callable[[float], bool], optional: bool = False, advice: str = ""
) -> Argument:
    """Takes real numbers that fit."""

    def taken(value: Any) -> int | float:  # noqa: ANN401
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise TypeError
        if not fits(float(value)):
            raise ValueError
        return value if isinstance(value, int) else float(value)

    return Argument(expected, taken, optional, advice)


def whole(expected: str, least: int, most: float = math.inf, optional: bool = False) -> Argument:
    """Takes whole numbers from `least` to `most`, which no float is."""

    def taken(value: Any) -> int:  # noqa: ANN401
        if isinstance(value, bool) or not isinstance(value, numbers.Integral):
            raise TypeError
        if not least <= int(value) <= most:
            raise ValueError
        return int(value)

    return Argument(expected, taken, optional)


def flag(optional: bool = False) -> Argument:
    """Takes True and False, NumPy's too, and nothing that merely counts as one."""

    def taken(value: Any) -> bool:  # noqa: ANN401
        if not isinstance(value, bool | np.bool_):
            raise TypeError
        return bool(value)

    return Argument("be True or False", taken, optional)


def text(expected: str, optional: bool = False) -> Argument:
    """Takes any str; what it may say is checked where it is known."""

    def taken(value: Any) -> str:  # noqa: ANN401
        if not isinstance(value, str):
            raise TypeError
        return str(value)

    return Argument(expected, taken, optional)


def instance(kind: type[Any], optional: bool = False) -> Argument:
    """Takes an object of a class."""

    def taken(value: Any) -> Any:  # noqa: ANN401
        if not isinstance(value, kind):
            raise TypeError
        return value

    return Argument(f"be {with_article(kind.__name__)}", taken, optional)


def one_of(*names: str) -> Argument:
    """Takes one of these names."""

    def taken(value: Any) -> str:  # noqa: ANN401
        return names[names.index(value)]

    return Argument(f"be one of {', '.join(names)}", taken)


def path(expected: str) -> Argument:
    """Takes a str or a path."""

    def taken(value: Any) -> Any:  # noqa: ANN401
        if not isinstance(os.fspath(value), str) or "\0" in os.fspath(value):
            raise TypeError
        return value

    return Argument(expected, taken)
