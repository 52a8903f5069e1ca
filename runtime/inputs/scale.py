"""The scale of a call."""

from typing import Any

from .arguments import checked, number

LARGEST_SCALE = 1000
SCALE = {
    "scale": number(
        f"be a number from 1 to {LARGEST_SCALE}",
        lambda scale: 1 <= scale <= LARGEST_SCALE,
        optional=True,
    )
}


def scale_of(asked: Any, trained: float) -> int | float:  # noqa: ANN401
    """Gives the scale that a call asks for, None for that which its network was trained for.

    Raises:
        UsageError: it is no number from 1 to 1000.
    """
    scale = checked({"scale": asked}, SCALE)["scale"]
    return whole_as_int(trained if scale is None else scale)


def whole_as_int(scale: float) -> int | float:
    """Gives 4 for 4.0, and 2.5 for 2.5."""
    return int(scale) if scale == int(scale) else float(scale)
