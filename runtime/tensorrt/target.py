"""The target of an engine: the GPUs that it is built for."""

from collections.abc import Sequence
from dataclasses import dataclass

from pcsr.errors import BackendError, UsageError
from pcsr.extras import needs_extra
from pcsr.runtime.devices import parse_device

from .library import Library

PORTABLE = "portable"
OLDEST_PORTABLE = (8, 0)  # Ampere
SAME_COMPUTE_CAPABILITY = "same-compute-capability"
AMPERE_PLUS = "ampere-plus"


@dataclass(frozen=True)
class LocalGpu:
    """A GPU that this machine has."""

    name: str
    capability: str
    """The compute capability, as in `9.0`."""
    device: str = "cuda:0"

    def __str__(self) -> str:
        return f"{self.name} (compute capability {self.capability})"


@dataclass(frozen=True)
class Target:
    """Holds what an engine is built for."""

    gpu: str
    """One GPU model, or `portable`."""
    capabilities: tuple[str, ...]
    """The model's compute capability, or the limits of `portable`; none: all from 8.0."""

    def __str__(self) -> str:
        limits = ", ".join(self.capabilities) or "from 8.0"
        return f"{self.gpu} (compute capability {limits})"

    def serves(self, gpu: LocalGpu, hardware_compatible: str | None) -> bool:
        """Says whether an engine for this target, built with this compatibility, runs on `gpu`."""
        if self.gpu == PORTABLE:
            return gpu.capability in self.capabilities or (
                not self.capabilities and version_numbers(gpu.capability) >= OLDEST_PORTABLE
            )
        if hardware_compatible == AMPERE_PLUS:
            return version_numbers(gpu.capability) >= OLDEST_PORTABLE
        if hardware_compatible == SAME_COMPUTE_CAPABILITY:
            return self.capabilities == (gpu.capability,)
        return self == Target(gpu.name, (gpu.capability,))


def find_gpu(device: str) -> LocalGpu:
    """Finds the GPU behind `cuda` or `cuda:N`.

    Raises:
        BackendError: there is none, or PyTorch, which finds it, is not installed.
    """
    try:
        kind, index = parse_device(device)
    except UsageError:
        kind, index = "", None
    if kind != "cuda":
        raise BackendError(f"TensorRT runs on cuda or cuda:N, not on '{device}'")
    with needs_extra("TensorRT", "tensorrt"):
        import torch
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if (index or 0) >= count:
        raise BackendError(
            f"device '{device}' is not there: PyTorch {torch.__version__} finds {count} NVIDIA GPUs"
        )
    number = torch.cuda.current_device() if index is None else index
    properties = torch.cuda.get_device_properties(number)
    return LocalGpu(properties.name, f"{properties.major}.{properties.minor}", f"cuda:{number}")


def choose_target(library: Library, device: str, capabilities: Sequence[str]) -> Target:
    """Chooses what to build for: the GPU that is there; with TensorRT-RTX all GPUs, or those of the
    capabilities.

    Raises:
        BackendError: TensorRT without a GPU.
        UsageError: capabilities that the library does not know or cannot choose.
    """
    if library.is_rtx:
        names = [name[2:] for name in library.trt.ComputeCapability.__members__ if name[:2] == "SM"]
        known = [f"{name[:-1]}.{name[-1]}" for name in names]
        unknown = sorted(set(capabilities) - set(known))
        if unknown:
            raise UsageError(
                f"{library.title} builds for the compute capabilities {', '.join(known)}, "
                f"not for {', '.join(unknown)}"
            )
        return Target(PORTABLE, tuple(sorted(set(capabilities), key=version_numbers)))
    if capabilities:
        raise UsageError(
            f"--compute-capability is for TensorRT-RTX; {library.title} builds for the GPU that is "
            "there"
        )
    try:
        gpu = find_gpu(device)
    except BackendError as error:
        raise BackendError(
            f"{library.title} builds engines on the GPU that will run them; {error}; run "
            "pcsr-build there"
        ) from error
    return Target(gpu.name, (gpu.capability,))


def version_numbers(text: str) -> tuple[int, ...]:
    """Reads `11.4.0.106` as (11, 4, 0, 106); parts that are no numbers count as 0."""
    return tuple(int(part) if part.isdigit() else 0 for part in text.split("."))
