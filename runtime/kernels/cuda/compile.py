"""CUDA C++ kernels: compiled by NVRTC when they are first needed, launched through the driver."""

import ctypes
import functools
import struct
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

FOLDER = Path(__file__).parent
PRELUDE = FOLDER / "prelude.cuh"


class CudaKernel:
    """A compiled kernel, on the device that is current when it is made."""

    def __init__(
        self, cubin: bytes, name: str, arguments: str, threads: int, shared_bytes: int
    ) -> None:
        """Loads a kernel into the current context; it stays there until the process ends.

        Args:
            cubin: of `compile_kernel`.
            name: of the kernel in it.
            arguments: its parameters as the module `struct` writes them: P is a pointer, i an int,
                q a long long, f a float.
            threads: of a block.
            shared_bytes: dynamic shared memory of a block.

        Raises:
            RuntimeError: the driver is missing or refuses the kernel.
        """
        from cuda.bindings import driver

        module = _done(driver, driver.cuModuleLoadData(cubin))
        self._function = _done(driver, driver.cuModuleGetFunction(module, name.encode()))
        limit = driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
        _done(driver, driver.cuFuncSetAttribute(self._function, limit, shared_bytes))
        self._driver, self._launch = driver, driver.cuLaunchKernel
        self._block = (threads, 1, 1, shared_bytes)
        self._arguments = _Arguments(arguments)

    def launch(self, grid: tuple[int, int, int], stream: int, *arguments: float) -> None:
        """Launches on a stream (its address: `torch.cuda.Stream.cuda_stream`) of the kernel's
        device, which must be current. Nothing waits, and what is launched can be captured.

        Raises:
            struct.error: other arguments than the kernel's.
            RuntimeError: the driver refuses the launch.
        """
        address = self._arguments.put(arguments)
        status = self._launch(self._function, *grid, *self._block, stream, 0, address)
        if status[0]:
            _done(self._driver, status)


class _Arguments(threading.local):
    """The memory that a launch reads its arguments from, one for each thread."""

    def __init__(self, layout: str) -> None:
        self._layout = struct.Struct(layout)
        self._data = ctypes.create_string_buffer(self._layout.size)
        self._size = ctypes.c_size_t(self._layout.size)
        pointer, size, end = 1, 2, 0  # CU_LAUNCH_PARAM_BUFFER_POINTER, _BUFFER_SIZE, _END
        words = (pointer, ctypes.addressof(self._data), size, ctypes.addressof(self._size), end)
        self._words = (ctypes.c_void_p * len(words))(*words)
        self._address = ctypes.addressof(self._words)

    def put(self, arguments: tuple[float, ...]) -> int:
        self._layout.pack_into(self._data, 0, *arguments)
        return self._address


@functools.cache
def cuda_kernel(
    name: str,
    arguments: str,
    device: torch.device,
    threads: int,
    shared_bytes: int,
    **defines: object,
) -> CudaKernel:
    """Gives the kernel `name` of the file `name`.cu, compiled once per process, device and form.

    Raises:
        ImportError: cuda.bindings is not installed.
        RuntimeError: NVRTC or the driver is missing, or refuses the kernel.
    """
    source = (FOLDER / f"{name}.cu").read_text(encoding="utf-8")
    cubin = compile_kernel(source, name, torch.cuda.get_device_capability(device), defines)
    with torch.cuda.device(device):
        return CudaKernel(cubin, name, arguments, threads, shared_bytes)


def compile_kernel(
    source: str, name: str, capability: tuple[int, int], defines: Mapping[str, object]
) -> bytes:
    """Compiles CUDA C++ behind the prelude for GPUs of this compute capability, without a GPU.

    Raises:
        ImportError: cuda.bindings is not installed.
        RuntimeError: NVRTC is missing, does not know the GPU, or finds an error (the first one).
    """
    from cuda.bindings import nvrtc

    file = f"{name}.cu"
    prelude = PRELUDE.read_text(encoding="utf-8")
    text = f'#include "{PRELUDE.name}"\n#line 1 "{file}"\n{source}'.encode()
    headers = ([prelude.encode()], [PRELUDE.name.encode()])
    program = _done(nvrtc, nvrtc.nvrtcCreateProgram(text, file.encode(), 1, *headers))
    options = [f"--gpu-architecture=sm_{capability[0]}{capability[1]}", "--std=c++17"]
    options += [f"-D{key}={value}" for key, value in defines.items()]
    try:
        (status,) = nvrtc.nvrtcCompileProgram(
            program, len(options), [option.encode() for option in options]
        )
        if status:
            raise RuntimeError(f"NVRTC, {options[0][2:]}: {_complaint(nvrtc, program, status)}")
        cubin = bytes(_done(nvrtc, nvrtc.nvrtcGetCUBINSize(program)))
        _done(nvrtc, nvrtc.nvrtcGetCUBIN(program, cubin))
        return cubin
    finally:
        nvrtc.nvrtcDestroyProgram(program)


def _complaint(nvrtc: Any, program: Any, status: Any) -> str:  # noqa: ANN401
    """The first error of the log, or what the status is called."""
    log = bytes(_done(nvrtc, nvrtc.nvrtcGetProgramLogSize(program)))
    _done(nvrtc, nvrtc.nvrtcGetProgramLog(program, log))
    lines = [line.strip() for line in log.rstrip(b"\0").decode(errors="replace").splitlines()]
    errors = [line for line in lines if "error" in line]
    return next(iter([*errors, *filter(None, lines)]), status.name)


def _done(library: Any, result: Any) -> Any:  # noqa: ANN401
    """Takes apart what the bindings return: a status and at most one value."""
    status, *values = result
    if status:
        raise RuntimeError(f"{library.__name__.rpartition('.')[2]}: {status.name}")
    return values[0] if values else None
