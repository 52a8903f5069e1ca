"""An opened bundle on a GPU: its calls are timed by events, and from the host.

A recorded frame is one piece of work to the device. Its stages are timed in calls of a second
`Upscaler` that records nothing.
"""

from functools import partial
from typing import TYPE_CHECKING

import torch

from pcsr.runtime.timing import recorded_spans

from .cases import Setup, Spec
from .measuring.calls import Answer, Measurement, timed, upscaler_caller
from .measuring.device import DeviceImages, DeviceMemory, DeviceMeter, make_clock
from .measuring.first_use import FirstUse
from .opened import OpenedBundle, open_upscaler

if TYPE_CHECKING:
    from pcsr.runtime.upscaler import Upscaler

TRANSFERS = ("upload", "download")


class DeviceBundle(OpenedBundle):
    """Calls a bundle on a GPU, or on another device of PyTorch with its clock."""

    least_warm_ups = 4  # a frame is recorded in the second call, and replayed from the third on

    def __init__(self, setup: Setup, shapes: int) -> None:
        """shapes: how many different ones are to stay ready."""
        self._open_ms, self.upscaler = timed(partial(open_upscaler, setup))
        unrecorded = open_upscaler(setup, cuda_graphs=False)
        self._device = torch.device(setup.device)
        images = DeviceImages(self._device)

        def meter(upscaler: "Upscaler") -> DeviceMeter:
            upscaler.keep_shapes(shapes)
            return DeviceMeter(upscaler_caller(upscaler), make_clock(self._device), images)

        self._meter, self._staged = meter(self.upscaler), meter(unrecorded)

    def first(self, spec: Spec) -> FirstUse:
        memory = DeviceMemory(self._device)
        first_ms, _ = self.call(spec)
        return FirstUse(first_ms, self._open_ms, peak_mib=memory.peak_mib())

    def call(self, spec: Spec) -> tuple[float, Answer]:
        return self._meter.call(spec.picture.pixels, spec.options)

    def staged(self, spec: Spec) -> None:
        """Reads the details, which brings the device's spans."""
        self._staged.call(spec.picture.pixels, spec.options)[1].details()

    def measure(self, spec: Spec) -> Measurement:
        image, options = spec.picture.pixels, spec.options
        with torch.accelerator.device_index(self._device.index):
            host_ms, answer = self.call(spec)
            details = answer.details()
            lap, _ = self._meter.lap(image, options)
            with recorded_spans():  # stages of a call whose result stays on the device
                staged, answer = self._staged.lap(image, options)
                stages = answer.details().stage_ms
        return Measurement(
            host_ms,
            {name: ms for name, ms in stages.items() if name not in TRANSFERS},
            staged.device_ms,
            details.pixels,
            device_ms=lap.device_ms,
            enqueue_ms=lap.enqueue_ms,
            h2d_ms=details.stage_ms.get("upload", 0.0),
            d2h_ms=details.stage_ms.get("download", 0.0),
        )
