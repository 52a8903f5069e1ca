"""A stream of our own beside the caller's: TensorRT adds waits to the default stream, and a
recording must not take the caller's work in.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch


class SideStream:
    """Work in it starts behind what the caller has queued on its current stream, and what the
    caller queues later waits for it. On the CPU it does nothing. It serves one thread at a time.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream: torch.cuda.Stream | None = None
        self._caller: torch.cuda.Stream | None = None
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    @property
    def pointer(self) -> int | None:
        """CUDA's handle of the stream; None on the CPU."""
        return None if self._stream is None else int(self._stream.cuda_stream)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Makes the stream the current one for the body."""
        if self._stream is None:
            yield
            return
        caller = self._caller = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(caller)
        try:
            with torch.cuda.device(self._device), torch.cuda.stream(self._stream):
                yield
        finally:
            caller.wait_stream(self._stream)

    def waiter(self) -> Callable[[], None]:
        """Gives a function that waits, when it is called, for all that is queued in here now."""
        if self._stream is None:
            return lambda: None
        event: torch.cuda.Event = self._stream.record_event()
        return event.synchronize

    def lend(self, tensor: torch.Tensor) -> None:
        """Keeps the memory of the caller's tensor until the work in here is done with it."""
        if self._stream is not None and tensor.is_cuda:
            tensor.record_stream(self._stream)

    def hand_over(self, *parts: object) -> None:
        """Gives those of the parts that are tensors, made in here, to the caller and its stream."""
        for part in parts:
            if self._caller is not None and isinstance(part, torch.Tensor):
                part.record_stream(self._caller)
