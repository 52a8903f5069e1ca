"""Plain values of configs and checkpoints, bounded in size, and YAML files that hold them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from pcsr.reading.files import read_file
from pcsr.text import one_line

MOST_VALUES = 20_000
MOST_DEPTH = 40
MOST_TEXT = 10_000
LARGEST = 2**63
MOST_CONFIG_BYTES = 2**18
SHOWN = 120  # characters of a value that is refused


def shown(value: Any) -> str:  # noqa: ANN401
    """Shows a value of any kind and size in a few characters of one line."""
    if isinstance(value, dict | list | tuple | set):
        return f"a {type(value).__name__} of {len(value)}"
    if value is not None and not isinstance(value, str | bool | int | float):
        return f"a {type(value).__name__}"
    if isinstance(value, int) and not -LARGEST <= value < LARGEST:
        return f"a number of {value.bit_length()} bits"
    text = one_line(value[: 2 * SHOWN] if isinstance(value, str) else str(value))
    return f"'{text[:SHOWN]}{'…' if len(text) > SHOWN else ''}'" if isinstance(value, str) else text


def plain(value: Any, name: str) -> Any:  # noqa: ANN401
    """Copies text, numbers, truth values and None, in lists (also for tuples) and dicts of text.

    What is referred to again and again counts each time, so that a small file cannot stand for
    values without end.

    Raises:
        ValueError: anything else, more than MOST_VALUES, deeper than MOST_DEPTH, or an integer
            beyond 64 bits; names the place, from `name` on.
    """
    return _copy(value, name, 0, iter(range(MOST_VALUES)))


def _copy(value: Any, name: str, depth: int, left: Iterator[int]) -> Any:  # noqa: ANN401
    if next(left, None) is None:
        raise ValueError(f"it holds more than {MOST_VALUES:,} values, repeated ones included")
    if depth > MOST_DEPTH:
        raise ValueError(f"it is nested more than {MOST_DEPTH} deep")
    if isinstance(value, dict):
        foreign = [key for key in value if not isinstance(key, str) or len(key) > MOST_TEXT]
        if foreign:
            raise ValueError(f"{name} has the key {shown(foreign[0])}, expected short text")
        return {
            key: _copy(item, f"{name}.{key}"[:SHOWN], depth + 1, left)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [
            _copy(item, f"{name}[{index}]"[:SHOWN], depth + 1, left)
            for index, item in enumerate(value)
        ]
    _check_single(value, name)
    return value


def _check_single(value: Any, name: str) -> None:  # noqa: ANN401
    if value is not None and type(value) not in (str, bool, int, float):
        raise ValueError(f"{name} is {shown(value)}, expected text, numbers, lists or keys")
    if isinstance(value, str) and len(value) > MOST_TEXT:
        raise ValueError(f"{name} is a text of {len(value):,} characters, at most {MOST_TEXT:,}")
    if isinstance(value, int) and not -LARGEST <= value < LARGEST:
        raise ValueError(f"{name} is {shown(value)}, expected less than 2^63")


def read_yaml(path: Path) -> Any:  # noqa: ANN401
    """Reads plain values from a YAML file.

    Raises:
        OSError: there is no ordinary file of at most MOST_CONFIG_BYTES; `strerror` says why.
        ValueError: it is not UTF-8, not YAML, or holds more than plain values; a line that says so.
    """
    try:
        text = read_file(path, MOST_CONFIG_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 text (byte {error.start})") from error
    return parse_yaml(text)


def parse_yaml(text: str) -> Any:  # noqa: ANN401
    """Reads plain values from YAML. Raises ValueError where it is not, or holds other values."""
    loader = yaml.SafeLoader("")
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        _expanded(node, {})
        return None if node is None else plain(loader.construct_document(node), "it")
    except yaml.YAMLError as error:
        raise ValueError(f"it is not YAML: {shown_error(error)}") from error
    except RecursionError as error:
        raise ValueError(f"it is nested more than {MOST_DEPTH} deep") from error
    except (TypeError, OverflowError, AttributeError, KeyError, IndexError) as error:
        raise ValueError(f"it holds a value that is none: {shown_error(error)}") from error
    finally:
        loader.dispose()


def shown_error(error: Exception) -> str:
    """Returns the beginning of an error's message, in one line."""
    return one_line(" ".join(str(error)[:1000].split()))[:300]


def _expanded(node: yaml.Node | None, known: dict[int, int | None]) -> int:
    """Counts the values below a node, those that aliases repeat each time: merging them builds
    them before `plain` could count.

    Raises:
        ValueError: too many, or a node that holds itself.
    """
    if not isinstance(node, yaml.CollectionNode):
        return 1
    if id(node) in known:
        size = known[id(node)]
        if size is None:
            raise ValueError("an alias refers to what holds it")
        return size
    known[id(node)] = None
    parts = node.value if isinstance(node, yaml.SequenceNode) else sum(node.value, ())
    total = 1 + sum(_expanded(part, known) for part in parts)
    if total > MOST_VALUES:
        raise ValueError(f"it holds more than {MOST_VALUES:,} values, repeated ones included")
    known[id(node)] = total
    return total
