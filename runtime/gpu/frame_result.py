"""The results of one frame are copied out of its static memory."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from numpy.typing import NDArray
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
        """Copies image and figures to the host's memory, where they are once the current stream is
        done. The routing stays, for `fetch_routing`.
        """
        names = ("image", "counts", "invalid", "threshold")
        return replace(self, **{name: _to_host(getattr(self, name)) for name in names})

    def fetch_routing(self) -> Callable[[str], NDArray[Any]]:
        """Gives what waits for `assignment` or `difficulty`, by this name, and brings it to the
        host. The device keeps it until then, and nothing else of this result.
        """
        held: dict[str, Any] = {"assignment": self.labels, "difficulty": self.difficulty}

        @isolated()
        def fetch(name: str) -> NDArray[Any]:
            part = held[name]
            with torch.cuda.device_of(part):  # type: ignore[no-untyped-call]
                held[name] = host = _to_host(part)
            if part.is_cuda:
                torch.cuda.current_stream(part.device).synchronize()
            found: NDArray[Any] = host.numpy()
            return found

        return fetch

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
