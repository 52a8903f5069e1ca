"""Mutations of ONNX files: of their fields, with all lengths made right, or of any bytes."""

import random
from typing import Any

import onnx

from tests.fuzz.mutations import INTEGERS, mutated_bytes

VARINT, FIXED_64, DELIMITED, FIXED_32 = 0, 1, 2, 5
WIDTHS = {FIXED_64: 8, FIXED_32: 4}
Part = tuple[int, int, bytes]
"""Number, wire type and content of a field; of one of VARINT, its bytes."""


def mutated_graph(data: bytes, rng: random.Random) -> bytes:
    """Changes some fields of an ONNX file, at any depth, or some of its bytes."""
    if rng.random() < 0.25:
        return mutated_bytes(data, rng)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        data = _changed(data, onnx.ModelProto.DESCRIPTOR, rng)
    return data


def _changed(data: bytes, message: Any, rng: random.Random) -> bytes:  # noqa: ANN401
    parts = _parts(data)
    if not parts:
        return bytes((rng.randrange(8, 128), rng.randrange(256)))
    kinds = sorted({number for number, _, _ in parts})
    number = rng.choice(kinds)  # so that the single fields of a model have their turn
    at = rng.choice([i for i, part in enumerate(parts) if part[0] == number])
    _, wire, content = parts[at]
    field = message.fields_by_number.get(number)
    if field is not None and field.message_type and wire == DELIMITED and rng.random() < 0.9:
        parts[at] = (number, wire, _changed(content, field.message_type, rng))
    else:
        _change(parts, at, rng)
    return b"".join(_written(part, rng) for part in parts)


def _change(parts: list[Part], at: int, rng: random.Random) -> None:
    number, wire, content = parts[at]
    kind = rng.randrange(8)
    if kind == 0:
        del parts[at]
    elif kind == 1:
        parts.insert(rng.randrange(len(parts) + 1), parts[at])
    elif kind == 2:
        other = rng.randrange(len(parts))
        parts[at], parts[other] = parts[other], parts[at]
    elif kind == 3:
        parts[at] = (rng.choice((number + 1, rng.randrange(1, 27))), wire, content)
    elif kind == 4:
        parts[at] = (number, VARINT, _varint(rng.choice(INTEGERS) % 2**64))
    elif kind == 5 and wire == VARINT:
        parts[at] = (number, wire, _varint(rng.randrange(0, 20)))
    elif kind == 6:
        numbers = rng.choices((0, 1, 2, 3, 64, 2**64 - 1), k=rng.randrange(9))
        parts[at] = (number, DELIMITED, b"".join(map(_varint, numbers)))
    elif wire != VARINT:
        width = WIDTHS.get(wire)
        parts[at] = (number, wire, mutated_bytes(content, rng)[:width].ljust(width or 0, b"\0"))


def _parts(data: bytes) -> list[Part]:
    """Takes a message apart, as far as it is whole."""
    found, at = [], 0
    while at < len(data):
        tag, at = _number(data, at)
        wire, start = tag & 7, at
        if wire == VARINT:
            at = _number(data, at)[1]
        elif wire == DELIMITED:
            length, start = _number(data, at)
            at = start + length
        elif wire in WIDTHS:
            at += WIDTHS[wire]
        else:
            break
        found.append((tag >> 3, wire, data[start:at]))
    return found


def _written(part: Part, rng: random.Random) -> bytes:
    number, wire, content = part
    length = len(content)
    if wire == DELIMITED and rng.random() < 1e-4:
        length = max(0, length + rng.choice((-1, 1, 2**20)))
    return _varint(number << 3 | wire) + (_varint(length) if wire == DELIMITED else b"") + content


def _number(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data):
        value |= (data[at] & 127) << shift
        shift, at = shift + 7, at + 1
        if data[at - 1] < 128:
            break
    return value, at


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes((*found, value))
