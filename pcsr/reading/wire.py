"""Counts the fields of a protobuf message before it is parsed: an empty one takes 2 bytes in a
file, and some hundred in memory.
"""

from typing import Any

MOST_FIELDS = 500_000
MOST_DEPTH = 16
LONG_BYTES = 2**20
RAW = "raw_data"
VARINT, FIXED_64, DELIMITED, FIXED_32 = 0, 1, 2, 5
WIDTHS = {FIXED_64: 8, FIXED_32: 4}


def count_fields(data: bytes, message: Any) -> int:  # noqa: ANN401
    """Counts all fields of a message and of those within.

    Args:
        message: the descriptor of its type (`ModelProto.DESCRIPTOR`).

    Raises:
        ValueError: it is damaged, or holds fields that its type does not have, too many, or long
            ones that are not `raw_data`.
    """
    count, waiting = 0, [(0, len(data), message, 0)]
    while waiting:
        at, end, kind, depth = waiting.pop()
        fields = kind.fields_by_number
        while at < end:
            tag, at = _varint(data, at)
            field, wire = fields.get(tag >> 3), tag & 7
            if field is None:
                raise ValueError(f"field {tag >> 3} of {kind.name} is not known")
            start, at = _skip(data, at, wire)
            count += 1
            if at > end or count > MOST_FIELDS or depth > MOST_DEPTH:
                raise ValueError("its fields are damaged, too many, or too deep")
            if field.message_type is not None:
                if wire != DELIMITED:
                    raise ValueError(f"{field.name} of {kind.name} is damaged")
                waiting.append((start, at, field.message_type, depth + 1))
            elif at - start > LONG_BYTES and field.name != RAW:
                raise ValueError(f"{field.name} of {kind.name} is longer than {LONG_BYTES} bytes")
    return count


def _skip(data: bytes, at: int, wire: int) -> tuple[int, int]:
    """Gives where the content of a field begins and ends."""
    if wire == VARINT:
        return at, _varint(data, at)[1]
    if wire == DELIMITED:
        length, at = _varint(data, at)
        return at, at + length
    if wire not in WIDTHS:
        raise ValueError("it is damaged, or holds groups")
    return at, at + WIDTHS[wire]


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("it ends in the middle of a number")
