"""The GPU and the software that a measurement was made with."""

import subprocess
from typing import Any

import torch

from benchmarks.environment import describe
from pcsr.runtime.installed import versions

PACKAGES = ("triton", "tensorrt", "tensorrt-rtx", "onnx", "onnxscript", "scikit-image")
QUERY = "driver_version,memory.total,clocks.sm,clocks.max.sm,clocks.mem,power.limit,temperature.gpu"
PATIENCE_S = 15


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
        facts["nvidia_smi"] = _nvidia_smi()
    return facts


def _nvidia_smi() -> dict[str, str] | str:
    """What nvidia-smi says of the first GPU, or why it says nothing."""
    command = ["nvidia-smi", f"--query-gpu={QUERY}", "--format=csv,noheader"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=PATIENCE_S
        )
    except (OSError, subprocess.SubprocessError) as error:
        return f"no answer: {type(error).__name__}"
    values = done.stdout.strip().splitlines()[0].split(", ")
    return dict(zip(QUERY.split(","), values, strict=False))
