"""What this device reaches at most: copies in its memory, copies to the host, matrix products."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch

from pcsr.runtime.torch_backend.arithmetic import exact_arithmetic

from .ceilings import Ceilings
from .device import HOLD_MS, Clock, current, make_clock

REPEATS = 20
WARM_UPS = 5


@dataclass(frozen=True)
class Extent:
    """Says how much is copied and multiplied."""

    bytes: int
    """Of the copied buffer."""
    side: int
    """Of the square matrices."""


ON_GPU = Extent(2**31, 8192)
QUICK = Extent(2**22, 256)


def measure_ceilings(device: torch.device, clock: Clock, extent: Extent) -> dict[str, float]:
    """Measures medians of GB/s (read plus written) and TFLOP/s (two FLOPs per multiply-add)."""
    return {
        "copy_gb_s": _copy(device, clock, extent.bytes),
        "matmul_fp16_tflop_s": _matmul(device, clock, extent.side, torch.float16),
        "matmul_fp32_tflop_s": _matmul(device, clock, extent.side // 2, torch.float32),
        "to_host_gb_s": _to_host(device, clock, extent.bytes // 16),
    }


def device_ceilings(name: str) -> Ceilings:
    """Measures those of `cuda` or `cuda:N`."""
    device = torch.device(name)
    extent = ON_GPU if device.type == "cuda" else QUICK
    with current(device):
        found = measure_ceilings(device, make_clock(device), extent)
    return Ceilings(
        1000 * found["matmul_fp32_tflop_s"],
        found["copy_gb_s"],
        1000 * found["matmul_fp16_tflop_s"],
    )


def _copy(device: torch.device, clock: Clock, size: int) -> float:
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2e-6 * size / _median_ms(clock, lambda: target.copy_(source))


def _to_host(device: torch.device, clock: Clock, size: int) -> float:
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target = torch.empty(size, dtype=torch.uint8, pin_memory=device.type == "cuda")
    return 1e-6 * size / _median_ms(clock, lambda: target.copy_(source, non_blocking=True))


def _matmul(device: torch.device, clock: Clock, side: int, dtype: torch.dtype) -> float:
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    with exact_arithmetic():
        return 2e-9 * side**3 / _median_ms(clock, lambda: left @ right)


def _median_ms(clock: Clock, call: Callable[[], Any]) -> float:
    laps = [clock.lap(call, HOLD_MS)[0].device_ms for _ in range(WARM_UPS + REPEATS)]
    return median(laps[WARM_UPS:])
