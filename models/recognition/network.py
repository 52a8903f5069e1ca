"""Defines what a recogniser returns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .names import State


@dataclass(frozen=True)
class Recognised:
    """Holds a network as its weights tell it."""

    name: str
    args: Mapping[str, Any]
    """As the entry `model` of a described checkpoint has them."""
    weights: State
    """Named as the network in `models/` names them."""
    data_norm: Mapping[str, list[float]] | None = None
    """Its mean and std of RGB in [0, 1]; None where they are those of the registered backbone."""
    assumed: Sequence[str] = ()
    """What weights do not tell and was taken to be as published; each a part of a sentence."""
