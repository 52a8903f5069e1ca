"""The values of a graph, without what they hold: their shapes."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Shape = tuple[int, ...]
MOST_AXES = 64  # as NumPy has; np.take writes past its memory where a result has more


@dataclass(frozen=True)
class Value:
    """A tensor's shape; of a few numbers that may stand for another shape, these too."""

    shape: Shape
    known: NDArray[Any] | None = None

    @property
    def count(self) -> int:
        """How many values it has."""
        return math.prod(self.shape)

    def integers(self) -> list[int]:
        """Gives its values where they are known; else raises ValueError."""
        if self.known is None or self.known.dtype != np.int64:
            raise ValueError("a size is computed from pixels")
        found: list[int] = self.known.reshape(-1).tolist()
        return found


@dataclass(frozen=True)
class Computation:
    """One node: what it computes, from which values. An absent input's name is ""."""

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]


Inputs = Sequence[Value | None]
Rule = Callable[[Computation, Inputs], tuple[list[Value], int]]
"""Gives the results of a node, and its multiply-adds."""


def given(inputs: Inputs) -> list[Value]:
    """Leaves out absent inputs."""
    return [value for value in inputs if value is not None]


def broadcast(*shapes: Shape) -> Shape:
    """Gives the shape of several that are combined element by element."""
    rank = max(map(len, shapes))
    sides = zip(*((1,) * (rank - len(shape)) + shape for shape in shapes), strict=True)
    found = []
    for lengths in sides:
        others = {length for length in lengths if length != 1}
        if len(others) > 1:
            raise ValueError(f"shapes {shapes} differ")
        found.append(others.pop() if others else 1)
    return tuple(found)
