"""Defines what this device reaches at most: copies in its memory, copies to the host, matrix
products.
"""

from collections.abc import Callable
from statistics import median
from typing import Any

import torch

from pcsr.runtime.torch_backend.arithmetic import exact_arithmetic

from .ceilings import Ceilings
from .device import HOLD_MS, Clock, make_clock

REPEATS = 20
WARM_UPS = 5
Extent = tuple[int, int]
"""(bytes that are copied, side of the square matrices that are multiplied)."""
ON_GPU: Extent = (2**31, 8192)
QUICK: Extent = (2**22, 256)


def measure_ceilings(device: torch.device, clock: Clock, extent: Extent) -> dict[str, float]:
    """Measures medians of GB/s (read plus written) and TFLOP/s (two FLOPs per multiply-add)."""
    size, side = extent
    pinned = torch.empty(size // 16, dtype=torch.uint8, pin_memory=device.type == "cuda")
    return {
        "copy_gb_s": 2 * _copy(device, clock, torch.empty(size, dtype=torch.uint8, device=device)),
        "matmul_fp16_tflop_s": _matmul(device, clock, side, torch.float16),
        "matmul_fp32_tflop_s": _matmul(device, clock, side // 2, torch.float32),
        "to_host_gb_s": _copy(device, clock, pinned),
    }


def device_ceilings(name: str) -> Ceilings:
    """Measures those of `cuda` or `cuda:N`."""
    device = torch.device(name)
    extent = ON_GPU if device.type == "cuda" else QUICK
    with torch.accelerator.device_index(device.index):
        found = measure_ceilings(device, make_clock(device), extent)
    single, half = (1000 * found[f"matmul_{kind}_tflop_s"] for kind in ("fp32", "fp16"))
    return Ceilings(single, found["copy_gb_s"], half)


def _copy(device: torch.device, clock: Clock, target: torch.Tensor) -> float:
    """Measures GB/s of bytes that are written to a target from the device."""
    source = torch.ones_like(target, device=device)
    took_ms = _median_ms(clock, lambda: target.copy_(source, non_blocking=True))
    return 1e-6 * target.numel() / took_ms


def _matmul(device: torch.device, clock: Clock, side: int, dtype: torch.dtype) -> float:
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    with exact_arithmetic():
        return 2e-9 * side**3 / _median_ms(clock, lambda: left @ right)


def _median_ms(clock: Clock, call: Callable[[], Any]) -> float:
    laps = [clock.lap(call, HOLD_MS)[0].device_ms for _ in range(WARM_UPS + REPEATS)]
    return median(laps[WARM_UPS:])
