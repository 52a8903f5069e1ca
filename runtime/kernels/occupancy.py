"""How many programs of a kernel a GPU runs at the same time, from what its compiled form takes."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import torch

from .launch import interpreted

INTERPRETED_PROGRAMS = 4
WARP = 32  # threads
PARTITIONS = 4  # of a multiprocessor; each has a quarter of the registers and the warps
REGISTER_UNIT = 256  # registers that a warp takes at once
SHARED_UNIT, SHARED_RESERVED = 128, 1024  # bytes; the driver's part of each program
# CUDA Programming Guide, technical specifications per compute capability; 32 where not listed.
MOST_PROGRAMS = {(8, 6): 16, (8, 7): 16, (8, 9): 24, (11, 0): 24, (12, 0): 24, (12, 1): 24}


@dataclass(frozen=True)
class MultiprocessorLimits:
    """Holds what one multiprocessor has for the programs on it."""

    registers: int
    shared: int
    """Bytes of shared memory."""
    warps: int
    programs: int

    @classmethod
    def of(cls, device: torch.device) -> "MultiprocessorLimits":
        """Asks a CUDA device."""
        found: Any = torch.cuda.get_device_properties(device)  # its stub lacks the registers
        return cls(
            found.regs_per_multiprocessor,
            found.shared_memory_per_multiprocessor,
            found.max_threads_per_multi_processor // WARP,
            MOST_PROGRAMS.get((found.major, found.minor), 32),
        )


def resident_programs(registers: int, shared: int, warps: int, limits: MultiprocessorLimits) -> int:
    """Counts the programs that one multiprocessor runs at the same time, at least 1.

    Args:
        registers: of a thread.
        shared: bytes of a program.
        warps: of a program.
    """
    of_warp = _rounded_up(max(registers, 1) * WARP, REGISTER_UNIT)
    by_registers = limits.registers // PARTITIONS // of_warp * PARTITIONS // warps
    by_shared = limits.shared // (_rounded_up(shared, SHARED_UNIT) + SHARED_RESERVED)
    return max(1, min(limits.programs, limits.warps // warps, by_registers, by_shared))


_known: dict[Hashable, int] = {}


def programs_at_once(
    kernel: Any,  # noqa: ANN401
    device: torch.device,
    *arguments: Any,  # noqa: ANN401
    **options: Any,  # noqa: ANN401
) -> int:
    """Counts the programs of a launch with these arguments that a whole GPU runs at the same time.

    The kernel is compiled and loaded when its constants are first seen, which a frame's first run
    does: not while one is recorded. Nothing is launched.
    """
    if interpreted() or device.type != "cuda":
        return INTERPRETED_PROGRAMS
    key = (kernel, device, *sorted(options.items()))
    if key not in _known:
        with torch.cuda.device(device):
            compiled = kernel.warmup(*arguments, grid=(1,), **options)
            compiled.run  # noqa: B018  # it is loaded here, and knows its registers then
        each: int = resident_programs(
            compiled.n_regs,
            compiled.metadata.shared,
            compiled.metadata.num_warps,
            MultiprocessorLimits.of(device),
        )
        multiprocessors: int = torch.cuda.get_device_properties(device).multi_processor_count
        _known[key] = each * multiprocessors
    return _known[key]


def _rounded_up(count: int, unit: int) -> int:
    return -(-count // unit) * unit
