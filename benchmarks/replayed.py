"""Functions of an image as callers, which a GPU replays from a CUDA graph."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pcsr.runtime.profiler.measuring.calls import Answer, Caller, CallOptions

if TYPE_CHECKING:
    import torch
    from torch import Tensor

WARM_UPS = 3  # before a recording


def recorded_caller(
    function: "Callable[[Tensor], Tensor]", device: "torch.device", is_copied: bool = True
) -> Caller:
    """Makes a caller of a function of an image's bytes, which a GPU replays from a CUDA graph.

    is_copied: whether results on the device are the caller's own, not the next call's.
    """
    import torch

    replayed = _replayed(function, is_copied)

    def call(image: Any, options: CallOptions) -> Answer:  # noqa: ANN401
        with torch.inference_mode():
            if isinstance(image, torch.Tensor):
                return Answer(replayed(image))
            return Answer(replayed(torch.from_numpy(image).to(device)).cpu().numpy())

    return call


def _replayed(
    function: "Callable[[Tensor], Tensor]", is_copied: bool
) -> "Callable[[Tensor], Tensor]":
    """Replays a function of one image from a CUDA graph, for one shape; on the CPU just calls."""
    recordings: list[tuple[torch.cuda.CUDAGraph, Tensor, Tensor]] = []

    def run(image: "Tensor") -> "Tensor":
        if not image.is_cuda:
            return function(image)
        if not recordings:
            recordings.append(_record(function, image.clone()))
        graph, source, out = recordings[0]
        source.copy_(image)
        graph.replay()
        return out.clone() if is_copied else out

    return run


def _record(
    function: "Callable[[Tensor], Tensor]", source: "Tensor"
) -> "tuple[torch.cuda.CUDAGraph, Tensor, Tensor]":
    import torch

    from pcsr.runtime.torch_backend.capture import captured

    side = torch.cuda.Stream(source.device)  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UPS):
            function(source)
    torch.cuda.synchronize()
    found: list[Tensor] = []
    graph = captured(lambda: found.append(function(source)), side)
    return graph, source, found[0]
