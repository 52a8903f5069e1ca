"""Reads the names of weights: without the prefixes of wrappers, numbered, renamed."""

import re
from collections.abc import Iterator, Mapping

from torch import Tensor

from pcsr.models.weights import COUNTERS, unwrapped

from .content import UNWANTED, WRAPPERS

State = Mapping[str, Tensor]
MOST_PREFIXES = 4


def forms(state: State) -> Iterator[dict[str, Tensor]]:
    """Yields the weights by their names as they are, but for counters of profilers; then without
    the parts that torch.compile and DataParallel add, and without prefixes of trainings.
    """
    counted = {
        name: weight for name, weight in state.items() if name.split(".")[-1] not in COUNTERS
    }
    bare = {unwrapped(name): weight for name, weight in counted.items()}
    if bare.keys() != counted.keys():
        yield counted
    if len(bare) == len(counted):
        yield from _stripped(bare, MOST_PREFIXES)


def _stripped(state: dict[str, Tensor], most: int) -> Iterator[dict[str, Tensor]]:
    yield state
    firsts = {name.partition(".")[0] for name in state}
    if most == 0 or any(not (first in WRAPPERS or UNWANTED.match(first)) for first in firsts):
        return
    for prefix in [name for name in WRAPPERS if name in firsts]:
        yield from _stripped(below(state, f"{prefix}."), most - 1)


def below(state: State, prefix: str) -> dict[str, Tensor]:
    """Returns the weights whose names begin with a prefix, without it."""
    return {
        name.removeprefix(prefix): weight
        for name, weight in state.items()
        if name.startswith(prefix)
    }


def count(state: State, pattern: str) -> int:
    """Counts the numbers that stand in the first group of a pattern of whole names."""
    found = (re.fullmatch(pattern, name) for name in state)
    return len({match[1] for match in found if match})


def renamed(state: State, rules: Mapping[str, str]) -> dict[str, Tensor]:
    """Renames by rules: patterns of beginnings of names, and what replaces them."""
    return {_renamed(name, rules): weight for name, weight in state.items()}


def _renamed(name: str, rules: Mapping[str, str]) -> str:
    for pattern, replacement in rules.items():
        new, changed = re.subn(rf"\A{pattern}", replacement, name)
        if changed:
            return new
    return name
