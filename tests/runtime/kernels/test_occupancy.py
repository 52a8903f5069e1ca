"""The programs that a GPU runs at the same time, against NVIDIA's occupancy calculator."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pcsr.runtime.kernels import occupancy
from pcsr.runtime.kernels.occupancy import MultiprocessorLimits, resident_programs

H100 = MultiprocessorLimits(65_536, 228 * 1024, 64, 32)
L40 = MultiprocessorLimits(65_536, 100 * 1024, 48, 24)


@pytest.mark.parametrize(
    ("registers", "shared", "warps", "limits", "expected"),
    [
        (138, 20_000, 4, H100, 3),  # 144 registers a thread, 3 warps a partition
        (128, 20_000, 4, H100, 4),
        (129, 20_000, 4, H100, 3),
        (32, 0, 4, H100, 16),  # 64 warps
        (32, 0, 4, L40, 12),  # 48 warps
        (16, 0, 1, H100, 32),  # programs
        (16, 0, 1, L40, 24),
        (255, 0, 8, H100, 1),
        (255, 0, 4, H100, 2),
        (168, 0, 4, H100, 3),
        (64, 48 * 1024, 4, L40, 2),
        (64, 49 * 1024 + 1, 4, L40, 1),  # 1 KiB of each is the driver's
        (64, 75 * 1024, 4, H100, 3),
        (64, 200 * 1024, 4, L40, 1),  # never 0
    ],
)
def test_resident_programs(
    registers: int, shared: int, warps: int, limits: MultiprocessorLimits, expected: int
) -> None:
    assert resident_programs(registers, shared, warps, limits) == expected


class _Kernel:
    """Stands in for a kernel; knows its registers only once it is loaded, as Triton's do."""

    def __init__(self) -> None:
        self.compiled = 0

    def warmup(self, *arguments: Any, grid: tuple[int, ...], **options: Any) -> "_Kernel":  # noqa: ANN401
        assert arguments == (1, 2)
        assert len(grid) == 1
        self.compiled += 1
        self.metadata = SimpleNamespace(shared=20_000, num_warps=options["num_warps"])
        return self

    @property
    def run(self) -> None:
        self.n_regs = 138


def test_a_kernel_is_compiled_once_for_its_constants(monkeypatch: pytest.MonkeyPatch) -> None:
    device = torch.device("cuda", 0)
    properties = SimpleNamespace(
        multi_processor_count=132,
        regs_per_multiprocessor=65_536,
        shared_memory_per_multiprocessor=228 * 1024,
        max_threads_per_multi_processor=2048,
        major=9,
        minor=0,
    )
    monkeypatch.setattr(occupancy, "interpreted", lambda: False)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: properties)
    monkeypatch.setattr(torch.cuda, "device", lambda _: torch.device("cpu"))
    kernel = _Kernel()
    for warps, expected in ((4, 3 * 132), (8, 132), (4, 3 * 132)):
        assert occupancy.programs_at_once(kernel, device, 1, 2, num_warps=warps) == expected
    assert kernel.compiled == 2


def test_the_interpreter_compiles_nothing() -> None:
    kernel = _Kernel()
    assert occupancy.programs_at_once(kernel, torch.device("cpu"), 1, 2, num_warps=4) > 0
    assert kernel.compiled == 0
