"""The results of one frame, out of its static memory."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pcsr.errors import ImageError
from pcsr.runtime.geometry.grid import hr_size
from pcsr.runtime.result import Stats

from .frame import AnyFrame


@dataclass(frozen=True)
class Parts:
    """image [H, W, c] in the caller's dtype; labels [H, W] uint8 and difficulty [H, W] float32,
    None for a plain network; counts [M - 1]; invalid [1]; threshold: as of `Frame`.
    """

    image: Tensor
    labels: Tensor | None
    difficulty: Tensor | None
    counts: Tensor
    invalid: Tensor
    threshold: Tensor | float | None

    @classmethod
    def of(cls, frame: AnyFrame) -> "Parts":
        """Copies, which the next frame does not overwrite."""
        return cls(
            frame.out.clone(),
            _copy(frame.labels),
            _copy(frame.difficulty),
            frame.counts.clone(),
            frame.invalid.clone(),
            _copy(frame.threshold),
        )

    @property
    def tensors(self) -> list[Tensor]:
        """All there are."""
        return [part for part in vars(self).values() if isinstance(part, Tensor)]

    @property
    def arrays(self) -> list[Any]:
        """Image, labels and difficulty."""
        return [self.image, self.labels, self.difficulty]

    def with_image(self, image: Tensor) -> "Parts":
        """The same routing of another image."""
        return replace(self, image=image)

    def downloaded(self) -> "Parts":
        """In the host's memory, once the current stream is done."""
        return Parts(*(_to_host(part) for part in vars(self).values()))

    def stats(
        self,
        lr_size: tuple[int, int],
        scale: float,
        stage_ms: Mapping[str, float],
        total_ms: float,
    ) -> Stats:
        """Waits for the device.

        Raises:
            ImageError: the classifier gave NaN or infinite values.
        """
        if self.invalid.item():
            raise ImageError("the classifier gives NaN or infinite values for this image")
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
    host = torch.empty(value.shape, dtype=value.dtype, pin_memory=True)
    return host.copy_(value, non_blocking=True)
