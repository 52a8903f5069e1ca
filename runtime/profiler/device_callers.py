"""One call of an opened bundle, measured on a GPU: by its events, and from the host.

A recorded frame is one piece of work to the device. Its stages are timed in calls of a second
`Upscaler` that records nothing.
"""

from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch

from pcsr.runtime.timing import recorded_spans

from .callers import Sample, open_upscaler, timed_call
from .cases import Engine, Spec
from .cold import FirstUse
from .device_clock import Lap, current, make_clock
from .pictures import Picture

if TYPE_CHECKING:
    from pcsr.runtime.upscaler import Result, Upscaler

MIB = 2**20
HOLD_MS = 0.1
TRANSFERS = ("upload", "download")


class DeviceCaller:
    """On a GPU; on another device of PyTorch with its clock. staged: times the stages."""

    least_warm_ups = 4  # a frame is recorded in the second call, and replayed from the third on

    def __init__(
        self, upscaler: "Upscaler", staged: "Upscaler", device: torch.device, open_ms: float
    ) -> None:
        self.upscaler, self._staged = upscaler, staged
        self._device, self._clock = device, make_clock(device)
        self._open_ms = open_ms
        self._tensors: dict[Picture, torch.Tensor] = {}
        self._enqueue_ms: dict[tuple[int, str], float] = {}

    @classmethod
    def opened(cls, engine: Engine, shapes: int) -> "DeviceCaller":
        """shapes: how many different ones are to stay ready."""
        start = perf_counter()
        upscaler = open_upscaler(engine)
        open_ms = 1000 * (perf_counter() - start)
        staged = open_upscaler(engine, cuda_graphs=False)
        for one in (upscaler, staged):
            one.keep_shapes(shapes)
        return cls(upscaler, staged, torch.device(engine.device), open_ms)

    def first(self, spec: Spec) -> FirstUse:
        if self._device.type != "cuda":
            return FirstUse(timed_call(self.upscaler, spec)[0], None, self._open_ms)
        torch.cuda.synchronize(self._device)
        torch.cuda.reset_peak_memory_stats(self._device)
        before = torch.cuda.memory_allocated(self._device)
        first_ms, _ = timed_call(self.upscaler, spec)
        peak = torch.cuda.max_memory_allocated(self._device) - before
        return FirstUse(first_ms, peak / MIB, self._open_ms)

    def call(self, spec: Spec) -> tuple[float, "Result"]:
        return timed_call(self.upscaler, spec)

    def traced(self, spec: Spec) -> None:
        """Reads the stats, which brings the device's spans."""
        _ = timed_call(self._staged, spec)[1].stats

    def measure(self, spec: Spec) -> Sample:
        with current(self._device):
            return self._measure(spec)

    def _measure(self, spec: Spec) -> Sample:
        self._clock.wait()
        host_ms, result = timed_call(self.upscaler, spec)
        transfers = result.stats.stage_ms
        lap, _ = self._lap(self.upscaler, spec)
        with recorded_spans():  # stages of a call whose result stays on the device
            staged, found = self._lap(self._staged, spec)
            stages = {k: v for k, v in found.stats.stage_ms.items() if k not in TRANSFERS}
        return Sample(
            host_ms,
            stages,
            staged.device_ms,
            result.stats.pixels_per_upsampler,
            device_ms=lap.device_ms,
            h2d_ms=transfers.get("upload", 0.0),
            d2h_ms=transfers.get("download", 0.0),
            enqueue_ms=lap.enqueue_ms,
        )

    def _lap(self, upscaler: "Upscaler", spec: Spec) -> tuple[Lap, "Result"]:
        """Tensor to tensor. The device waits for as long as the host took before to queue it."""
        image, key = self._tensor(spec.picture), (id(upscaler), spec.name)
        results: list[Any] = []
        call = partial(_keep, results, partial(upscaler, image, **spec.options))
        lap = self._clock.lap(call, HOLD_MS + 2 * self._enqueue_ms.get(key, 0.0))
        # The least: a call that waits for the device waits for the holding, too.
        self._enqueue_ms[key] = min(lap.enqueue_ms, self._enqueue_ms.get(key, lap.enqueue_ms))
        return lap, results[0]

    def _tensor(self, picture: Picture) -> torch.Tensor:
        if picture not in self._tensors:
            self._tensors[picture] = torch.from_numpy(picture.pixels).to(self._device)
        return self._tensors[picture]


def _keep(results: list[Any], call: Any) -> None:  # noqa: ANN401
    results.append(call())
