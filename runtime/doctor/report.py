"""The report on a machine: what is installed and what of it works. It needs nothing but Python."""

import platform
import subprocess
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pcsr
from pcsr.runtime.machine import bf16_instructions, int8_instructions, usable_cores, versions
from pcsr.runtime.trials.memory import all_remembered, memory_file

from .probes import PROBES, BackendCheck, attempt, compiled_passes, reason

PACKAGES = (
    *("numpy", "onnx", "onnxruntime", "onnxruntime-gpu", "openvino", "torch", "triton"),
    *("tensorrt", "tensorrt-rtx", "polygraphy"),
)
GPU_FIELDS = ("name", "compute_cap", "memory.total", "driver_version")
NVIDIA_SMI_S = 10


@dataclass(frozen=True)
class MachineReport:
    """Holds what pcsr-doctor found."""

    versions: dict[str, str]
    providers: tuple[str, ...]
    """Those of ONNX Runtime; none where it does not load: the checks say why."""
    cpu: dict[str, str | int]
    gpus: tuple[dict[str, str], ...]
    """Name, compute_cap, memory.total and driver_version of each."""
    checks: tuple[BackendCheck, ...]
    remembered: dict[str, str]
    """What trials on this CPU have found: `file`, where that is kept and what to delete to forget
    it, then a line for each graph and number of threads."""
    bundle: dict[str, Any] | None
    """What `examine_bundle` found, where a bundle was given."""


def examine(bundle: Path | None = None) -> MachineReport:
    """Looks at the machine and tries every backend; reads a bundle where one is given.

    Raises:
        BundleError: the bundle is damaged or none.
    """
    contents = None if bundle is None else examine_bundle(bundle)
    own = {"pcsr": pcsr.__version__, "python": platform.python_version()}
    checks = tuple(probe.check() for probe in PROBES)
    cpu: dict[str, str | int] = {"machine": platform.machine(), "cores": usable_cores()}
    cpu["compiled passes"] = attempt(compiled_passes, reason)
    cpu["bf16"] = ", ".join(bf16_instructions()) or "no instructions for it"
    cpu["int8"] = ", ".join(int8_instructions()) or "no instructions for it"
    installed, gpus = own | versions(*PACKAGES), tuple(_gpus())
    return MachineReport(installed, _providers(), cpu, gpus, checks, _remembered(), contents)


def examine_bundle(path: Path) -> dict[str, Any]:
    """Checks every file of a bundle, and returns its kind, precisions and engines.

    Raises:
        BundleError: as Bundle.load and Bundle.graph_bytes.
    """
    from pcsr.bundle import Bundle
    from pcsr.runtime.mlps import load_mlps

    bundle = Bundle.load(path)
    manifest = bundle.manifest
    for precision, graphs in manifest.graphs.items():
        for role in graphs:
            bundle.graph_bytes(role, precision)
    if manifest.mlps is not None:
        load_mlps(bundle)
    if manifest.vectors is not None:
        bundle.vectors()
    for name in manifest.calibrations:
        bundle.calibration(name)
    engines = sorted(file.parent.name for file in bundle.path.glob("engines/*/build.json"))
    return {
        "path": str(path),
        "kind": bundle.kind,
        "backbone": manifest.model.backbone,
        "precisions": [*manifest.graphs],
        "calibrations": [*manifest.calibrations],
        "engines": engines,
    }


def _remembered() -> dict[str, str]:
    """Lists what trials have found, whatever state the file is in."""
    lines = {"file": str(memory_file() or "nowhere: set XDG_CACHE_HOME")}
    try:
        found = all_remembered()
    except (OSError, ValueError) as error:
        return lines | {"damaged": f"{error}; it is written anew"}
    for key, outcome in found:
        graph = f"{str(key.get('graph'))[:8]} {key.get('precision')}, {key.get('threads')} threads"
        lines[graph] = str(outcome)
    return lines


def _providers() -> tuple[str, ...]:
    return attempt(
        lambda: tuple(import_module("onnxruntime").get_available_providers()), lambda _error: ()
    )


def _gpus() -> list[dict[str, str]]:
    """Asks the driver's own tool; PyTorch where there is no such tool."""
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
