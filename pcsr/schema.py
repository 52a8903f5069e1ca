"""Checks JSON with a schema, in as much of JSON Schema 2020-12 as `manifest.schema.json` uses.

A validator from a library would be one package more on every host, GPU machines without a network
among them, and 20 ms of every first call. The tests hold this one equal to `jsonschema`, but for
one thing: an integer is written without a point.
"""

import json
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Json = Mapping[str, Any]
Rule = tuple[type[Any] | tuple[type[Any], ...], Callable[[Any, Any], Any], str]

SHOWN = 80  # characters of a value that is refused
NUMBER = (int, float)
TYPES: dict[str, type[Any] | tuple[type[Any], ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": NUMBER,
}


def _is_of(value: Any, types: str | list[str]) -> bool:  # noqa: ANN401
    names = [types] if isinstance(types, str) else types
    if value is None or isinstance(value, bool):
        return ("null" if value is None else "boolean") in names
    return any(isinstance(value, TYPES[name]) for name in names if name in TYPES)


def _is_one_of(value: Any, choices: list[Any]) -> bool:  # noqa: ANN401
    return (type(value), value) in [(type(choice), choice) for choice in choices]


RULES: dict[str, Rule] = {
    "type": (object, _is_of, "{}"),
    "enum": (object, _is_one_of, "one of {}"),
    "const": (object, operator.eq, "{}"),
    "minimum": (NUMBER, operator.ge, "at least {}"),
    "exclusiveMinimum": (NUMBER, operator.gt, "more than {}"),
    "maximum": (NUMBER, operator.le, "at most {}"),
    "minItems": (list, lambda value, count: len(value) >= count, "{} or more items"),
    "maxItems": (list, lambda value, count: len(value) <= count, "at most {} items"),
    "maxLength": (str, lambda value, count: len(value) <= count, "at most {} characters"),
    "pattern": (str, lambda value, pattern: re.search(pattern, value), "text like {}"),
}


def check(value: Any, schema: Json, root: Json, path: str = "") -> None:  # noqa: ANN401
    """Holds `value` against `schema`, a part of `root`. `path` is where the value is.

    Raises:
        ValueError: it does not fit; one line that says what was expected and what was found.
    """
    for keyword, expected in schema.items():
        if keyword in RULES:
            kind, holds, words = RULES[keyword]
            if isinstance(value, kind) and not holds(value, expected):
                raise ValueError(_refusal(path, words.format(json.dumps(expected)), value))
    for inner, part, where in _parts(value, schema, root, path):
        check(inner, part, root, where)


def _parts(value: Any, schema: Json, root: Json, path: str) -> Iterator[tuple[Any, Json, str]]:  # noqa: ANN401
    """Yields what else has to fit: values inside, and the same value for parts of the schema."""
    if "$ref" in schema:
        yield value, root["$defs"][schema["$ref"].removeprefix("#/$defs/")], path
    if "if" in schema:
        branch = "then" if _fits(value, schema["if"], root) else "else"
        yield value, schema.get(branch, {}), path
    if "items" in schema and isinstance(value, list):
        for index, item in enumerate(value):
            yield item, schema["items"], f"{path}[{index}]"
    if isinstance(value, dict):
        yield from _members(value, schema, path)


def _members(value: Json, schema: Json, path: str) -> Iterator[tuple[Any, Json, str]]:
    missing = [name for name in schema.get("required", ()) if name not in value]
    if missing:
        raise ValueError(f"{path or 'manifest'}: no {missing[0]}")
    known, others = schema.get("properties", {}), schema.get("additionalProperties", {})
    for name, item in value.items():
        part = known.get(name, others)
        if part is False:
            raise ValueError(_refusal(path, f"only {json.dumps(list(known))}", name))
        if part:
            yield item, part, f"{path}.{name}" if path else name


def _fits(value: Any, schema: Json, root: Json) -> bool:  # noqa: ANN401
    try:
        check(value, schema, root)
    except ValueError:
        return False
    return True


def _refusal(path: str, expected: str, value: Any) -> str:  # noqa: ANN401
    return f"{path or 'manifest'}: expected {expected}, found {json.dumps(value):.{SHOWN}}"
