"""What is installed and what of it works. Needs nothing but Python itself."""

import os
import platform
import subprocess
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pcsr
from pcsr.runtime.machine import versions

from .probes import PROBES, Check, attempt, reason

PACKAGES = (
    *("numpy", "onnx", "onnxruntime", "onnxruntime-gpu", "torch", "triton"),
    *("tensorrt", "tensorrt-rtx", "polygraphy"),
)
GPU_FIELDS = ("name", "compute_cap", "memory.total", "driver_version")
NVIDIA_SMI_S = 10


@dataclass(frozen=True)
class Report:
    """versions: of what is installed. gpus: name, compute_cap, memory.total and driver_version."""

    versions: dict[str, str]
    providers: tuple[str, ...]
    cpu: dict[str, str | int]
    gpus: tuple[dict[str, str], ...]
    checks: tuple[Check, ...]
    bundle: dict[str, Any] | None

    def to_json(self) -> dict[str, Any]:
        """For json.dumps."""
        return asdict(self)


def examine(bundle: Path | None = None) -> Report:
    """Looks at the machine and tries every backend; reads a bundle where one is given.

    Raises:
        BundleError: the bundle is damaged or none.
    """
    contents = None if bundle is None else examine_bundle(bundle)
    own = {"pcsr": pcsr.__version__, "python": platform.python_version()}
    checks = tuple(probe.check() for probe in PROBES)
    return Report(own | versions(*PACKAGES), _providers(), _cpu(), tuple(_gpus()), checks, contents)


def examine_bundle(path: Path) -> dict[str, Any]:
    """Kind, precisions and engines of a bundle, after the hash of every file was checked.

    Raises:
        BundleError: as Bundle.load and Bundle.graph_bytes.
    """
    from pcsr.bundle import Bundle

    bundle = Bundle.load(path)
    precisions = [*bundle.manifest.graphs]
    for precision in precisions:
        for role in bundle.graphs(precision):
            bundle.graph_bytes(role, precision)
    if bundle.manifest.mlps is not None:
        bundle.mlp_bytes()
    if bundle.manifest.vectors is not None:
        bundle.vectors()
    calibrations = [*bundle.manifest.calibrations]
    for name in calibrations:
        bundle.calibration(name)
    engines = sorted(file.parent.name for file in bundle.path.glob("engines/*/build.json"))
    backbone = bundle.manifest.model.backbone
    return {
        "path": str(path),
        "kind": bundle.kind,
        "backbone": backbone,
        "precisions": precisions,
        "calibrations": calibrations,
        "engines": engines,
    }


def _providers() -> tuple[str, ...]:
    """Of ONNX Runtime; none where it does not load: the checks say why."""

    def ask() -> tuple[str, ...]:
        return tuple(import_module("onnxruntime").get_available_providers())

    return attempt(ask, lambda _error: ())


def _cpu() -> dict[str, str | int]:
    def ask() -> str:
        from pcsr.runtime.cpu.passes import instructions

        return instructions()

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    passes = attempt(ask, reason)
    return {"machine": platform.machine(), "cores": cores or 1, "compiled passes": passes}


def _gpus() -> list[dict[str, str]]:
    """What the driver's own tool says; PyTorch where there is no such tool."""
    command = ["nvidia-smi", f"--query-gpu={','.join(GPU_FIELDS)}", "--format=csv,noheader"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=NVIDIA_SMI_S
        )
    except (OSError, subprocess.SubprocessError):
        return attempt(_gpus_of_torch, lambda _error: [])
    rows = [line.split(", ") for line in done.stdout.splitlines() if line.strip()]
    return [dict(zip(GPU_FIELDS, row, strict=False)) for row in rows]


def _gpus_of_torch() -> list[dict[str, str]]:
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    found = [torch.cuda.get_device_properties(index) for index in range(count)]
    values = [(p.name, f"{p.major}.{p.minor}", f"{p.total_memory >> 20} MiB", "?") for p in found]
    return [dict(zip(GPU_FIELDS, row, strict=True)) for row in values]
