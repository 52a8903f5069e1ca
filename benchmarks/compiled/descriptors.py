"""Finds products on tensor cores (sm_90) whose shared memory addresses are made from data.

ptxas 12.8 does that to some kernels: it reads a register in which loaded values still are, before
the address is there. Such a kernel ends in an illegal memory access or in wrong results.
"""

import re
from collections import defaultdict
from collections.abc import Iterable

_LINE = re.compile(r"^\s+/\*([0-9a-f]{4,})\*/\s+(@!?U?P\w+\s+)?([A-Z][\w.]*)\s*(.*?);", re.M)
_REGISTER = re.compile(r"\bU?R\d+\b")
_SPILLED = re.compile(r"\[R1\S*\]")
_LOADS = ("LDG", "LDS", "ATOM", "LD.")
_WRITES_NONE = re.compile(r"ST[GS]|BAR|BRA|EXIT|RED|WARP|MEMBAR|FENCE|NOP|BS|\w*SETP|U?PLOP3")


def products_at_loaded_addresses(sass: str) -> list[int]:
    """Gives where they are in the text of `cuobjdump -sass`: bytes from the kernel's begin."""
    lines = [(int(at, 16), *rest) for at, *rest in _LINE.findall(sass)]
    at_targets: dict[int, set[str]] = defaultdict(set)
    while True:
        known = sum(map(len, at_targets.values()))
        found = _followed(lines, at_targets)
        if sum(map(len, at_targets.values())) == known:
            return found


def _followed(lines: list[tuple[int, str, str, str]], at_targets: dict[int, set[str]]) -> list[int]:
    """Goes through the code once. at_targets: which registers may hold loaded values where jumps
    end; it grows.
    """
    loaded: set[str] = set()
    found = []
    for at, predicate, name, operands in lines:
        loaded |= at_targets.get(at, set())
        if name.startswith("HGMMA") and loaded & _of_descriptors(operands):
            found.append(at)
        if name.startswith("BRA") and (target := re.search(r"0x[0-9a-f]+", operands)):
            at_targets[int(target[0], 16)] |= loaded
        if name.startswith(("BRA", "EXIT")) and not predicate:
            loaded = set()
        if not _WRITES_NONE.match(name):
            to, sources = _flow(name, operands)
            is_loaded = name.startswith((*_LOADS, "HGMMA")) or bool(sources & loaded)
            loaded = loaded | to if is_loaded else loaded - to if not predicate else loaded
    return found


def _flow(name: str, operands: str) -> tuple[set[str], set[str]]:
    """The registers that an instruction writes, and those that it reads."""
    first, _, rest = operands.partition(",")
    if name.startswith(("LDL", "STL")):  # a spilled register, and its place on the stack
        place, others = {*_SPILLED.findall(operands)}, _SPILLED.sub("", operands)
        registers = _all(_REGISTER.findall(others), _count(name))
        return (place, registers) if name.startswith("STL") else (registers, place)
    if re.fullmatch(r"\s*U?P\w+", first):  # a predicate that is written too
        first, _, rest = rest.partition(",")
    found = _REGISTER.findall(rest)
    sources = _all(found, 2 if ".64" in name else 1)
    if ".WIDE" in name:
        sources |= _all(_REGISTER.findall(rest.rpartition(",")[2]), 2)
    return _all(_REGISTER.findall(first), _count(name)), sources


def _count(name: str) -> int:
    """How many registers in a row an instruction writes."""
    if product := re.match(r"HGMMA\.64x(\d+)x", name):
        return int(product[1]) // 2
    if matrices := re.match(r"LDSM.*\.(\d)$", name):
        return int(matrices[1])
    if ".128" in name:
        return 4
    return 2 if ".64" in name or ".WIDE" in name or name.startswith("CS2R") else 1


def _all(registers: Iterable[str], count: int) -> set[str]:
    """The registers, each with those behind it, so many in all."""
    split = [one.partition("R") for one in registers]
    return {f"{kind}R{int(first) + i}" for kind, _, first in split for i in range(count)}


def _of_descriptors(operands: str) -> set[str]:
    """The uniform registers with addresses; where A is in registers, the first two are not read."""
    before, _, rest = operands.partition("gdesc[")
    a_in_registers = len(_REGISTER.findall(before)) > 1
    four = sorted(_all([rest.partition("]")[0]], 4), key=lambda name: int(name[2:]))
    return set(four[2 if a_in_registers else 0 :])
