"""What goes on around a measurement: the load of others, limits that strike, the GPU's state."""

from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import Any

from pcsr.runtime.machine import throttled_periods

from .load import Load, foreign_cores
from .nvml import Gpu, Reading
from .stability import gpu_warnings, load_warnings

INTERVAL_S = 1.0


class Monitor:
    """From when it is made. gpu: None on the CPU. throttled: how often a limit struck so far."""

    def __init__(
        self, gpu: Gpu | None = None, throttled: Callable[[], int | None] = throttled_periods
    ) -> None:
        self._gpu, self._throttled = gpu, throttled
        self._load, self._strikes = Load.now(), throttled()
        self._readings: list[Reading] = []
        self._last_s = 0.0

    def tick(self) -> None:
        """Between calls: reads the GPU, once a second at most."""
        if self._gpu is None or perf_counter() - self._last_s < INTERVAL_S:
            return
        self._last_s = perf_counter()
        reading = self._gpu.read()
        if reading is not None:
            self._readings.append(reading)

    def warnings(self) -> list[str]:
        """Of all that happened since."""
        strikes = self._throttled()
        struck = None
        if strikes is not None and self._strikes is not None:
            struck = strikes - self._strikes
        foreign = foreign_cores(self._load, Load.now()) if self._gpu is None else None
        return load_warnings(foreign, struck) + gpu_warnings(self._readings)

    def facts(self) -> dict[str, Any]:
        """For the environment: cores of others, and the GPU at its start, its end and between."""
        foreign = foreign_cores(self._load, Load.now())
        found: dict[str, Any] = {"foreign_cores": foreign}
        if self._gpu is not None:
            found["gpu_state"] = self._of_gpu(self._gpu)
        return found

    def _of_gpu(self, gpu: Gpu) -> dict[str, Any]:
        if not self._readings:
            return {"source": "no answer of NVML or nvidia-smi"}
        clocks = [one.sm_mhz for one in self._readings if one.sm_mhz is not None]
        powers = [one.power_w for one in self._readings if one.power_w is not None]
        return {
            "source": gpu.source,
            "before": self._readings[0].to_json(),
            "after": self._readings[-1].to_json(),
            "median_sm_mhz": median(clocks) if clocks else None,
            "median_power_w": median(powers) if powers else None,
        }
