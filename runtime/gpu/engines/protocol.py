"""What runs a bundle's graphs on tensors that stay on their device."""

from typing import Protocol

import torch
from torch import Tensor

from pcsr.bundle import Bundle

MOST_ROWS = 2**20


class Engines(Protocol):
    """The graphs of one bundle on `device`. All work is queued on PyTorch's current CUDA stream.

    capturable: may be recorded into a CUDA graph, after a run with the same shapes.
    image_least, image_limit: smallest and largest (height, width) that `image` takes; None: any.
    rows_limit: most rows N per call of `rows`. map_limits: least and most input pixels P of its row
    maps; None: any.

    Calls raise torch.OutOfMemoryError where the device's memory does not suffice.
    """

    device: torch.device
    capturable: bool
    image_least: tuple[int, int]
    image_limit: tuple[int, int] | None
    rows_limit: int
    map_limits: tuple[int, int] | None

    def image(self, image: Tensor) -> Tensor:
        """[1, 3, h, w] float32 RGB in [0, 1], contiguous -> `features` [1, D, h, w] of the graph's
        precision, of any strides; of a plain network `upscaled` [1, 3, H, W].
        """

    def rows(
        self, role: str, features: Tensor, index: Tensor, offset: Tensor, cell: Tensor
    ) -> Tensor:
        """`classifier` or `upsampler_j` on N pixels (0 allowed): its row map [P, C] of the graph's
        precision, [N] int32, [N, 2] and [2] float32 -> [N, outputs] float32.
        """


def image_role(bundle: Bundle) -> str:
    """The graph that takes the image."""
    return "network" if bundle.kind == "plain" else "backbone"


def image_output(role: str) -> str:
    """Which of its outputs is wanted."""
    return {"network": "upscaled", "backbone": "features"}[role]
