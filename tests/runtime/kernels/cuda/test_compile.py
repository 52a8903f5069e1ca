"""Kernels in CUDA C++ compile for NVIDIA GPUs and are launched with the arguments they were given.
Without a GPU.
"""

import ctypes
import struct
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.compiled.compiler import SHARED_LIMIT, resources
from pcsr.runtime.kernels.convolutions.residual_block import shared_bytes
from pcsr.runtime.kernels.cuda.compile import FOLDER, CudaKernel, compile_kernel
from pcsr.runtime.torch_backend.replacing.blocks import ROWS

GPUS = [(8, 0), (8, 6), (8, 9), (9, 0), (10, 0), (12, 0)]


@pytest.fixture
def nvrtc() -> Any:  # noqa: ANN401
    """NVRTC, which comes with PyTorch for CUDA and with pcsr[dev]."""
    found = pytest.importorskip("cuda.bindings.nvrtc", reason="cuda-bindings is not installed")
    try:
        found.nvrtcVersion()
    except RuntimeError as error:
        pytest.skip(f"nvidia-cuda-nvrtc is not installed: {str(error).splitlines()[0]}")
    return found


@pytest.mark.usefixtures("nvrtc")
@pytest.mark.parametrize("defines", [{}, {"BFLOAT16": 1}], ids=str)
@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("capability", GPUS, ids=str)
def test_a_residual_block_fits_a_gpu(
    capability: tuple[int, int], rows: int, defines: dict[str, int]
) -> None:
    source = (FOLDER / "residual_block.cu").read_text(encoding="utf-8")
    cubin = compile_kernel(source, "residual_block", capability, {"TILE_ROWS": rows, **defines})
    registers, stack = resources(cubin)
    assert registers <= 128  # two blocks of 256 threads on a multiprocessor
    assert stack == 0


@pytest.mark.parametrize("capability", GPUS, ids=str)
def test_one_form_at_least_fits_the_shared_memory(capability: tuple[int, int]) -> None:
    limit = SHARED_LIMIT[capability[0] * 10 + capability[1]]
    assert min(map(shared_bytes, ROWS)) <= limit


@pytest.mark.usefixtures("nvrtc")
def test_the_kernel_that_tests_the_emulation_is_one_for_a_gpu() -> None:
    source = Path(__file__).with_name("product.cu").read_text(encoding="utf-8")
    _, stack = resources(compile_kernel(source, "product", (8, 0), {}))
    assert stack == 0


@pytest.mark.usefixtures("nvrtc")
@pytest.mark.parametrize(
    ("source", "capability", "message"),
    [
        ("\n\nerror_here;", (9, 0), r"^NVRTC, gpu-architecture=sm_90: broken\.cu\(3\): error: .*$"),
        ("", (1, 0), "^NVRTC, gpu-architecture=sm_10: .*invalid value for --gpu-architecture.*$"),
    ],
)
def test_what_is_wrong_is_one_line(source: str, capability: tuple[int, int], message: str) -> None:
    with pytest.raises(RuntimeError, match=message) as caught:
        compile_kernel(source, "broken", capability, {})
    assert "\n" not in str(caught.value)


class Driver(SimpleNamespace):
    """Stands in for cuda.bindings.driver; keeps what is launched, its arguments copied."""

    CUfunction_attribute = SimpleNamespace(CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES=8)
    __name__ = "cuda.bindings.driver"

    def __init__(self, refused: str = "") -> None:
        self.launched: list[tuple[Any, ...]] = []
        self.refused = refused

    def _status(self, call: str) -> Any:  # noqa: ANN401
        class Status(int):
            name = "CUDA_ERROR_REFUSED"

        return Status(call == self.refused)

    def cuModuleLoadData(self, cubin: bytes) -> tuple[Any, ...]:
        return self._status("load"), f"module of {cubin.decode()}"

    def cuModuleGetFunction(self, module: str, name: bytes) -> tuple[Any, ...]:
        return self._status("get"), f"{name.decode()} of {module}"

    def cuFuncSetAttribute(self, *attribute: Any) -> tuple[Any, ...]:  # noqa: ANN401
        self.attribute = attribute
        return (self._status("attribute"),)

    def cuLaunchKernel(self, *what: Any) -> tuple[Any, ...]:  # noqa: ANN401
        words = (ctypes.c_void_p * 5).from_address(what[-1])
        assert (words[0], words[2], words[4]) == (1, 2, None)
        size = ctypes.c_size_t.from_address(words[3] or 0).value
        self.launched.append((*what[:-1], ctypes.string_at(words[1] or 0, size)))
        return (self._status("launch"),)


def loaded(patch: pytest.MonkeyPatch, driver: Driver) -> CudaKernel:
    bindings = SimpleNamespace(driver=driver)
    patch.setitem(sys.modules, "cuda", SimpleNamespace(bindings=bindings))
    patch.setitem(sys.modules, "cuda.bindings", bindings)
    return CudaKernel(b"it", "kernel", "PifqP", threads=256, shared_bytes=70_000)


def test_a_launch_passes_its_arguments_as_c_lays_them_out(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = loaded(monkeypatch, driver := Driver())
    kernel.launch((3, 2, 1), 77, 1 << 47, -5, 0.5, -(1 << 40), 16)
    kernel.launch((1, 1, 1), 0, 0, 1, 2.0, 3, 4)
    function = "kernel of module of it"
    assert driver.attribute == (function, 8, 70_000)
    first = struct.pack("<QifqQ", 1 << 47, -5, 0.5, -(1 << 40), 16)
    second = struct.pack("<QifqQ", 0, 1, 2.0, 3, 4)
    assert driver.launched == [
        (function, 3, 2, 1, 256, 1, 1, 70_000, 77, 0, first),
        (function, 1, 1, 1, 256, 1, 1, 70_000, 0, 0, second),
    ]


def test_other_arguments_are_not_launched(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = loaded(monkeypatch, driver := Driver())
    with pytest.raises(struct.error):
        kernel.launch((1, 1, 1), 0, 1, 2, 3.0, 4)
    assert driver.launched == []


@pytest.mark.parametrize("refused", ["load", "get", "attribute", "launch"])
def test_what_the_driver_refuses_is_one_line(monkeypatch: pytest.MonkeyPatch, refused: str) -> None:
    asked = "70000 bytes of shared memory: " if refused == "attribute" else ""
    with pytest.raises(RuntimeError, match=f"^driver: {asked}CUDA_ERROR_REFUSED$"):
        loaded(monkeypatch, Driver(refused)).launch((1, 1, 1), 0, 1, 2, 3.0, 4, 5)
