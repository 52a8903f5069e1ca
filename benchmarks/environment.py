"""Says where and with what a measurement was made, and the cores it is held to."""

import hashlib
import os
import platform
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pcsr.runtime.machine import machine, versions

if TYPE_CHECKING:
    import torch

ROOT = Path(__file__).resolve().parents[1]
POOLS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
TIMED = (  # sources that times depend on; the rest of benchmarks/ only arranges and prints them
    "pcsr/*.py",
    "runtime/**/*.py",
    "runtime/cpu/native/*.[ch]",
    "models/**/*.py",
    "export/**/*.py",
    "benchmarks/callers.py",
    "benchmarks/contenders.py",
    "benchmarks/cpu/rounds.py",
)
RUN_ON_GPU = (*TIMED, "benchmarks/**/*.py")

DEVICE_PACKAGES = ("triton", "tensorrt", "tensorrt-rtx", "onnx", "onnxscript", "scikit-image")
QUERY = (  # of nvidia-smi
    "driver_version",
    "memory.total",
    "clocks.sm",
    "clocks.max.sm",
    "clocks.mem",
    "power.limit",
    "temperature.gpu",
)


def pin(threads: int) -> None:
    """Holds this process and its children to the first cores, one per thread, where there are that
    many. To be called before NumPy and torch are imported: they read the pool sizes once.
    """
    os.environ.update(dict.fromkeys(POOLS, str(threads)))
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def describe(threads: int) -> dict[str, Any]:
    """Describes the environment as it goes into every record."""
    return machine(threads) | {
        "cores": os.cpu_count(),
        "platform": platform.platform(),
        **commit(),
        "date": datetime.now(UTC).isoformat(timespec="microseconds"),
    }


def commit() -> dict[str, Any]:
    """Gives the commit, and whether files differ from it; None without git."""
    changed = _git("status", "--porcelain")
    return {
        "commit": _git("rev-parse", "HEAD"),
        "dirty": None if changed is None else bool(changed),
    }


def describe_device(device: "torch.device") -> dict[str, Any]:
    """Does the same for a GPU, with all that times on it depend on."""
    import torch

    from pcsr.runtime.profiler.measuring.nvml import ask_smi

    facts = describe(torch.get_num_threads())
    facts["versions"] |= versions(*DEVICE_PACKAGES)
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


def source_hash(patterns: Sequence[str] = TIMED, root: Path = ROOT) -> str:
    """Gives the sha256 of sources, names included: a commit says less while files change."""
    digest = hashlib.sha256()
    for path in sorted({path for pattern in patterns for path in root.glob(pattern)}):
        digest.update(f"{path.relative_to(root)}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _git(*arguments: str) -> str | None:
    with suppress(OSError, subprocess.CalledProcessError):
        command = ["git", "-C", str(ROOT), *arguments]
        return subprocess.check_output(command, stderr=subprocess.DEVNULL, text=True).strip()
    return None
