"""Times and memory of calls on a device of PyTorch: on a GPU by its own events and counters."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeVar

import torch

from pcsr.metrics import Pixels
from pcsr.runtime.torch_backend.capture import free_cached_memory

from .calls import Answer, Caller, CallOptions, timed

T = TypeVar("T")
SLEEP_HZ = 2.0e9  # cycles per second of torch.cuda._sleep, about
LONGEST_HOLD_MS = 20.0
HOLD_MS = 0.1
MIB = 2**20


class Lap(NamedTuple):
    """Holds what one call took on its device, and how long the host took until it returned."""

    device_ms: float
    enqueue_ms: float


class Clock:
    """Times calls on the CPU, where a call returns when it is done."""

    name = "wall clock"

    def lap(self, call: Callable[[], T], hold_ms: float) -> tuple[Lap, T]:
        """Times one call, and gives its result. hold_ms: what the host needs to queue it, about."""
        wall_ms, result = timed(call)
        return Lap(wall_ms, wall_ms), result

    def wait(self) -> None:
        """Waits until the device has done all."""


class EventClock(Clock):
    """Sets CUDA events before and behind the call on the caller's stream. The stream is held while
    the host queues the call, so that they enclose the device's work and not its waiting for the
    host.
    """

    name = "CUDA events"

    def lap(self, call: Callable[[], T], hold_ms: float) -> tuple[Lap, T]:
        start = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        stop = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()
        cycles = int(min(hold_ms, LONGEST_HOLD_MS) / 1000 * SLEEP_HZ)
        torch.cuda._sleep(cycles)  # type: ignore[no-untyped-call]
        start.record()
        enqueue_ms, result = timed(call)
        stop.record()
        stop.synchronize()
        return Lap(start.elapsed_time(stop), enqueue_ms), result

    def wait(self) -> None:
        torch.cuda.synchronize()


def make_clock(device: torch.device) -> Clock:
    """Chooses the clock of a device."""
    return EventClock() if device.type == "cuda" else Clock()


class DeviceImages:
    """Keeps copies of images on a device, each made once."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._copies: dict[int, tuple[Pixels, torch.Tensor]] = {}

    def copy(self, image: Pixels) -> torch.Tensor:
        """Gives the tensor of an array [h, w, 3]."""
        if id(image) not in self._copies:
            self._copies[id(image)] = image, torch.from_numpy(image).to(self._device)
        return self._copies[id(image)][1]


class DeviceMeter:
    """Times a caller on a device, from array to array and from tensor to tensor."""

    def __init__(self, caller: Caller, clock: Clock, images: DeviceImages) -> None:
        self.caller, self._clock, self._images = caller, clock, images
        self._enqueue_ms: dict[tuple[object, ...], float] = {}

    def call(self, image: Pixels, options: CallOptions) -> tuple[float, Answer]:
        """Calls it, and gives the milliseconds from array to array and the answer."""
        self._clock.wait()
        return timed(partial(self.caller, image, options))

    def lap(self, image: Pixels, options: CallOptions) -> tuple[Lap, Answer]:
        """Times tensor to tensor. The device waits as long as the host took to queue it before."""
        key = (image.shape, *options.items())
        known_ms = self._enqueue_ms.get(key)
        call = partial(self.caller, self._images.copy(image), options)
        lap, answer = self._clock.lap(call, HOLD_MS + 2 * (known_ms or 0.0))
        # The least: a call that waits for the device waits for the holding, too.
        self._enqueue_ms[key] = min(lap.enqueue_ms, known_ms or lap.enqueue_ms)
        return lap, answer


class DeviceMemory:
    """Reads what is taken of a GPU's memory from when this is made; elsewhere nobody says."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._is_cuda = device, device.type == "cuda"
        if self._is_cuda:
            torch.cuda.synchronize(device)
            torch.cuda.reset_peak_memory_stats(device)
            self._allocated = torch.cuda.memory_allocated(device)
            self._reserved = torch.cuda.memory_reserved(device)

    def peak_mib(self) -> float | None:
        """Gives the most that was allocated since."""
        if not self._is_cuda:
            return None
        return (torch.cuda.max_memory_allocated(self._device) - self._allocated) / MIB

    def held_mib(self) -> float | None:
        """Gives what was reserved since and is still in use."""
        if not self._is_cuda:
            return None
        free_cached_memory()
        return (torch.cuda.memory_reserved(self._device) - self._reserved) / MIB
