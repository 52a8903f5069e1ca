"""Defines what a runner on a device is."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import torch
from torch import Tensor


class DeviceRunner(Protocol):
    """Runs the graphs of one bundle on one device. All work is queued on PyTorch's current CUDA
    stream; sizes are (height, width).

    Calls raise torch.OutOfMemoryError where the device's memory does not suffice.
    """

    device: torch.device
    capturable: bool = False
    """Whether calls may be recorded into a CUDA graph, after one with the same shapes."""
    image_least: tuple[int, int] = (1, 1)
    """The smallest size that `image` takes."""
    image_limit: tuple[int, int] | None = None
    """The largest size that `image` takes; None: any."""
    rows_limit: int = 2**20
    """The most rows N that one call of `rows` takes; where each has four neighbours, a quarter."""
    choices: Sequence[str] = ()
    """What was chosen for the device when the graphs were opened, a line each."""
    map_limits: tuple[int, int] | None = None
    """The least and the most input pixels P of the row maps that `rows` takes; None: any."""

    def image(self, image: Tensor) -> Tensor:
        """Runs the graph of the image: [1, 3, h, w] float32 RGB in [0, 1], contiguous, gives
        `features` [1, D, h, w] in the graph's precision, of any strides; of a plain network it
        gives `upscaled` [1, 3, H, W].
        """

    def rows(
        self, role: str, features: Tensor, index: Tensor, offset: Tensor, cell: Tensor
    ) -> Tensor:
        """Runs `classifier` or `upsampler_j` on N pixels (0 is allowed): its row map [P, C] in the
        graph's precision, index [N] int32, offset [N, 2] and cell [2] float32 give [N, outputs]
        float32. An upsampler with four neighbours takes index [N, 4] and offset [N, 4, 2].
        """

    def using(self, owner: object) -> AbstractContextManager[None]:
        """Lets this thread's calls in the body use state that belongs to `owner`, goes with it, and
        is used for nothing else: a recording replays what is in it.
        """
        return nullcontext()

    def refusal(self, owner: object) -> str | None:
        """Says why what `owner` ran on the current stream may not be recorded; None where it may,
        if calls may be recorded at all.
        """
        return None
