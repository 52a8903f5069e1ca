"""The GPU and the software that a measurement was made with."""

from typing import Any

import torch

from benchmarks.environment import describe
from pcsr.runtime.machine import versions
from pcsr.runtime.profiler.nvml import ask_smi

PACKAGES = ("triton", "tensorrt", "tensorrt-rtx", "onnx", "onnxscript", "scikit-image")
QUERY = (
    "driver_version",
    "memory.total",
    "clocks.sm",
    "clocks.max.sm",
    "clocks.mem",
    "power.limit",
    "temperature.gpu",
)


def describe_device(device: torch.device) -> dict[str, Any]:
    """All that times depend on, as it goes into the results."""
    facts = describe(torch.get_num_threads())
    facts["versions"] |= versions(*PACKAGES)
    facts["device"] = "CPU" if device.type == "cpu" else torch.cuda.get_device_name(device)
    facts["cudnn"] = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
    facts["cuda"] = torch.version.cuda
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        facts["sm"] = f"{properties.major}.{properties.minor}"
        facts["multiprocessors"] = properties.multi_processor_count
        facts["memory_mib"] = properties.total_memory // 2**20
        facts["nvidia_smi"] = ask_smi(QUERY) or "no answer"
    return facts
