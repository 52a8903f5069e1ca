"""Counts the instructions of a compiled kernel, loops by how often they turn."""

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_LINE = re.compile(r"^\s+/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)(.*?);", re.M)
_TARGET = re.compile(r"0x[0-9a-f]+")


@dataclass(frozen=True)
class Instruction:
    """One instruction. loops: the addresses of the loops that it is in, outermost first."""

    address: int
    operation: str
    loops: tuple[int, ...]


def instructions(sass: str) -> list[Instruction]:
    """Reads the text of `cuobjdump -sass`. A loop is what lies between a jump back and its target;
    the padding behind the end, a jump to itself and NOPs, is left out.
    """
    found = [(int(at, 16), name, rest.strip()) for at, name, rest in _LINE.findall(sass)]
    loops = sorted(_loops(found), key=lambda loop: (loop[0], -loop[1]))
    return [
        Instruction(at, name, tuple(begin for begin, end in loops if begin <= at <= end))
        for at, name, rest in found
        if name != "NOP" and not (name == "BRA" and _target(rest) == at)
    ]


def _loops(found: Sequence[tuple[int, str, str]]) -> Iterator[tuple[int, int]]:
    ends: dict[int, int] = {}
    for at, name, rest in found:
        target = _target(rest) if name.startswith("BRA") else None
        if target is not None and target < at:
            ends[target] = max(at, ends.get(target, 0))
    yield from ends.items()


def _target(rest: str) -> int | None:
    found = _TARGET.search(rest)
    return int(found[0], 16) if found else None


def turned(found: Sequence[Instruction], trips: Sequence[int], persistent: bool) -> int:
    """Counts the instructions that one thread runs.

    Args:
        trips: how often loops turn, the outermost first; 1 where it is too short.
        persistent: whether the outermost loop is over tiles. It is not among the trips: one turn of
            it is counted, and nothing outside.
    """
    skipped = int(persistent)
    inside = [one for one in found if len(one.loops) >= skipped]
    return sum(math.prod(trips[: len(one.loops) - skipped]) for one in inside)


def most_frequent(found: Sequence[Instruction], count: int = 12) -> str:
    """Gives the most frequent operations, with how often they stand in the code."""
    names = Counter(one.operation.split(".")[0] for one in found)
    return ", ".join(f"{name} {times}" for name, times in names.most_common(count))
