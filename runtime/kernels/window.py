"""Which part of the output the kernels work on."""

from dataclasses import dataclass

from .packed import DeviceAxes


@dataclass(frozen=True)
class Window:
    """A band of output rows and the input rows that `pre` has of it.

    first: output row of the canvas's row 0. top: input row of the first row of `pre`.
    """

    axes: DeviceAxes
    first: int = 0
    top: int = 0
