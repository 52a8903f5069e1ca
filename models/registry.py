"""Finds backbones by name.

A backbone is any module that maps an image [B, 3, h, w] to features [B, D, h, w]. Its own come with
this package; others register with the decorator, or through the entry point group `pcsr.backbones`,
whose entries name a module that does so when imported.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any, TypeVar

from torch import nn

from pcsr.errors import CheckpointError, UsageError

from .values import SHOWN, plain, shown, shown_error

Rgb = tuple[float, float, float]
BLACK: Rgb = (0.0, 0.0, 0.0)
WHITE: Rgb = (1.0, 1.0, 1.0)
BackboneClass = TypeVar("BackboneClass", bound=Callable[..., nn.Module])


@dataclass(frozen=True)
class Registration:
    """Says how a backbone is built, and what its published training normalises RGB by."""

    build: Callable[..., nn.Module]
    mean: Rgb
    std: Rgb


_registrations: dict[str, Registration] = {}


def register_backbone(
    name: str, mean: Rgb = BLACK, std: Rgb = WHITE
) -> Callable[[BackboneClass], BackboneClass]:
    """Makes a backbone class known under the name that checkpoints carry. `mean` and `std` (RGB in
    [0, 1]) are the normalisation used where neither an option nor a config sets it.
    """

    def register(build: BackboneClass) -> BackboneClass:
        _registrations[name] = Registration(build, mean, std)
        return build

    return register


def find_registration(name: str) -> Registration:
    """Finds the backbone registered as `name`. Raises CheckpointError where there is none."""
    if name not in _registrations:
        for entry in entry_points(group="pcsr.backbones"):
            entry.load()
    if name not in _registrations:
        known = ", ".join(sorted(_registrations))
        raise CheckpointError(
            f"unknown backbone {shown(name)} (known: {known}); register it with "
            "pcsr.models.register_backbone or the entry point group pcsr.backbones"
        )
    return _registrations[name]


def parse_rgb(value: Any) -> Rgb | None:  # noqa: ANN401
    """Reads three numbers of a config; None stays. Raises ValueError or TypeError for all else."""
    if value is None:
        return None
    wrong = not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 3
    if wrong or not all(isinstance(number, int | float) for number in value):
        raise ValueError(f"expected three numbers, found {str(plain(value, 'it'))[:SHOWN]}")
    red, green, blue = (float(number) for number in value)
    return (red, green, blue)


def normalisation(name: str, mean: Rgb | None, std: Rgb | None) -> tuple[Rgb, Rgb]:
    """Returns mean and std of RGB in [0, 1] for a backbone: as given, else as it is registered.

    Raises:
        CheckpointError: no such backbone. UsageError: a value is not finite, or std not positive.
    """
    default = find_registration(name)
    return checked_rgb(mean or default.mean, std or default.std)


def checked_rgb(mean: Rgb, std: Rgb) -> tuple[Rgb, Rgb]:
    """Returns both. Raises UsageError where a value is not finite, or std not positive."""
    if not all(math.isfinite(value) for value in (*mean, *std)):
        raise UsageError(f"mean and std must be finite numbers, found {mean} and {std}")
    if min(std) <= 0:
        raise UsageError(f"std must be positive, found {std}")
    return mean, std


def make_backbone(name: str, args: Mapping[str, Any]) -> nn.Module:
    """Builds the backbone `name` with the keyword arguments of its checkpoint.

    Raises:
        CheckpointError: the name is unknown or the arguments do not fit.
    """
    registration = find_registration(name)
    try:
        return registration.build(**args)
    except CheckpointError:
        raise
    except Exception as error:  # a constructor of anyone, given arguments that it may not know
        raise CheckpointError(
            f"backbone '{name}' cannot be built from the checkpoint's "
            f"{str(dict(args))[:SHOWN]}: {shown_error(error)}"
        ) from error
