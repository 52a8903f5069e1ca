"""Where and with what a measurement was made, and the cores it is held to."""

import hashlib
import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
POOLS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
PACKAGES = ("numpy", "onnxruntime", "onnxruntime-gpu", "torch", "pillow")
TIMED = (  # sources that times depend on; the rest of benchmarks/ only arranges and prints them
    "pcsr/*.py",
    "runtime/**/*.py",
    "models/**/*.py",
    "export/**/*.py",
    "benchmarks/alone.py",
    "benchmarks/engines.py",
    "benchmarks/lineup.py",
    "benchmarks/memory.py",
    "benchmarks/rounds.py",
    "benchmarks/tensors.py",
)


def pin(threads: int) -> None:
    """Holds this process and its children to the first cores, one per thread, where there are that
    many. To be called before NumPy and torch are imported: they read the pool sizes once.
    """
    os.environ.update(dict.fromkeys(POOLS, str(threads)))
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def machine(threads: int) -> dict[str, Any]:
    """What times depend on."""
    return {
        "cpu": _cpu_model(),
        "cores_used": _affinity(),
        "threads": threads,
        "versions": _versions(),
    }


def describe(threads: int) -> dict[str, Any]:
    """The environment as it goes into every record."""
    return machine(threads) | {
        "cores": os.cpu_count(),
        "platform": platform.platform(),
        "commit": _git("rev-parse", "HEAD"),
        "dirty": bool(_git("status", "--porcelain")),
        "date": datetime.now(UTC).isoformat(timespec="microseconds"),
    }


def source_hash(patterns: Sequence[str] = TIMED, root: Path = ROOT) -> str:
    """sha256 of the sources that match, names included: a commit says less while files change."""
    digest = hashlib.sha256()
    for path in sorted({path for pattern in patterns for path in root.glob(pattern)}):
        digest.update(f"{path.relative_to(root)}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def available_mib() -> float | None:
    """Memory that can be taken without swapping; None where the system does not say."""
    return _proc_mib("/proc/meminfo", "MemAvailable:")


def resident_mib() -> float | None:
    """Resident memory of this process now; None where the system does not say."""
    return _proc_mib("/proc/self/status", "VmRSS:")


def peak_resident_mib() -> float | None:
    """Most resident memory of this program so far; None where the system does not say.

    Not ru_maxrss: Linux hands that on through fork and exec, and a child of a large process would
    start at its parent's peak.
    """
    return _proc_mib("/proc/self/status", "VmHWM:")


def _proc_mib(file: str, name: str) -> float | None:
    try:
        lines = Path(file).read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith(name)]
    return int(found[0]) / 1024 if found else None


def _affinity() -> int | None:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor()


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _git(*arguments: str) -> str | None:
    try:
        command = ["git", "-C", str(ROOT), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
