"""The results of one frame are copied out of its static memory."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pcsr.errors import ImageError
from pcsr.runtime.geometry.grid import hr_size
from pcsr.runtime.graph_outputs import INFINITE
from pcsr.runtime.result import Stats
from pcsr.runtime.torch_backend.arithmetic import isolated

from .frame import AnyFrame


@dataclass(frozen=True)
class FrameResult:
    """Holds what one frame gave: for a plain network, without labels and difficulty."""

    image: Tensor
    """[H, W, c], in the caller's dtype."""
    labels: Tensor | None
    """[H, W] uint8."""
    difficulty: Tensor | None
    """[H, W] float32."""
    counts: Tensor
    """[M - 1]: the pixels of each upsampler but the lightest."""
    invalid: Tensor
    """[1]: more than 0 where logits or colours are not finite."""
    threshold: Tensor | float | None
    """The difficulty that `Frame.threshold` describes."""

    @classmethod
    def of(cls, frame: AnyFrame) -> "FrameResult":
        """Copies the results, so that the next frame does not overwrite them."""
        routed = frame.labels, frame.difficulty, frame.counts, frame.invalid, frame.threshold
        return cls(*map(_copy, (frame.out, *routed)))

    @property
    def arrays(self) -> tuple[Any, Any, Any]:
        """Image, labels and difficulty, in this order."""
        return self.image, self.labels, self.difficulty

    def downloaded(self) -> "FrameResult":
        """Copies the parts to the host's memory, where they are once the current stream is done."""
        return FrameResult(*(_to_host(part) for part in vars(self).values()))

    @isolated()
    def stats(
        self, lr_size: tuple[int, int], scale: float, stage_ms: Mapping[str, float], total_ms: float
    ) -> Stats:
        """Reads the statistics of the call, which waits for the device.

        Raises:
            ImageError: the network gave NaN or infinite values.
        """
        if self.invalid.item():
            raise ImageError(INFINITE)
        size = hr_size(lr_size, scale)
        threshold = None if self.threshold is None else float(self.threshold)
        counts: list[int] = self.counts.tolist()
        if self.labels is not None:
            counts.append(math.prod(size) - sum(counts))
        return Stats(lr_size, size, tuple(counts), threshold, stage_ms, total_ms)


def _copy(value: Tensor | float | None) -> Any:  # noqa: ANN401
    return value.clone() if isinstance(value, Tensor) else value


def _to_host(value: Tensor | float | None) -> Any:  # noqa: ANN401
    if not isinstance(value, Tensor) or not value.is_cuda:
        return value
    host = torch.empty(value.shape, dtype=value.dtype, device="cpu", pin_memory=True)
    return host.copy_(value, non_blocking=True)
