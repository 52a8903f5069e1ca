"""The layers that a network of convolutions is made of."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pcsr.errors import BackendError

LANES = 16
MOST_KERNEL, MOST_BLOCKS = 15, 256  # as convolutions.h has them
MOST_CHANNELS = LANES * MOST_BLOCKS

Floats = NDArray[np.float32]


class Unsupported(BackendError):
    """Raised for a graph that holds what these convolutions do not compute."""


@dataclass(frozen=True)
class Activation:
    """What is applied to the results of a layer."""

    kind: str = "linear"
    """linear, relu, slopes (what is below zero is multiplied by the slope of its channel), clip."""
    slopes: Floats = field(default_factory=lambda: np.zeros(0, np.float32))
    """[outputs], of slopes."""
    low: float = 0.0
    high: float = 0.0


LINEAR = Activation()


@dataclass
class Layer:
    """A convolution, and what is done to its results before they are stored.

    A tensor is named by the index of the layer that makes it, in their order; -1 is the normalised
    image of three channels.
    """

    inputs: tuple[int, ...]
    """The tensors that are joined on their channels."""
    weight: Floats
    """[outputs, inputs of a group, kernel, kernel]."""
    bias: Floats
    """[outputs]."""
    groups: int = 1
    activation: Activation = LINEAR
    added: int | None = None
    """A tensor that is added."""
    activates_first: bool = False
    """Whether the activation comes before that."""

    @property
    def kernel(self) -> int:
        """The height and width of the window."""
        return int(self.weight.shape[2])

    @property
    def outputs(self) -> int:
        """The number of channels that it makes."""
        return len(self.bias)

    @property
    def is_plain(self) -> bool:
        """Tells whether it is a convolution and nothing more."""
        return self.activation is LINEAR and self.added is None


@dataclass(frozen=True)
class Network:
    """Convolutions from the image to the features, which the last layer makes."""

    mean: Floats
    """[3], subtracted from the image."""
    std: Floats
    """[3], which it is then divided by."""
    layers: Sequence[Layer]

    def channels(self, tensor: int) -> int:
        """Counts the channels of a tensor."""
        return 3 if tensor < 0 else self.layers[tensor].outputs

    @property
    def image_columns(self) -> int:
        """How many columns of the image a pixel of its tensor holds: those that all its readers
        see, if these fit into a block of channels; else its own.
        """
        readers = [layer for layer in self.layers if -1 in layer.inputs]
        columns = {layer.kernel for layer in readers}
        alone = all(layer.inputs == (-1,) for layer in readers)
        return columns.pop() if alone and len(columns) == 1 and 3 * max(columns) <= LANES else 1

    def delays(self) -> list[int]:
        """Gives by how many rows each layer stays behind the image."""
        found: list[int] = []
        for layer in self.layers:
            behind = [found[i] if i >= 0 else 0 for i in layer.inputs]
            delay = max(behind) + layer.kernel // 2
            if layer.added is not None:
                delay = max(delay, found[layer.added])
            found.append(delay)
        return found
