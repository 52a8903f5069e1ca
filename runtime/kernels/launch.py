"""How the kernels are launched: pixels of a tile, warps, and what stays in shared memory."""

import functools
from dataclasses import dataclass
from typing import Any

import torch
import triton

from .packed import PackedMlp

DTYPES: dict[torch.dtype, Any] = {
    torch.float32: triton.language.float32,
    torch.float16: triton.language.float16,
    torch.bfloat16: triton.language.bfloat16,
}


@dataclass(frozen=True)
class Launch:
    """block: pixels of a tile. held: whether the weights are loaded once per program and stay in
    shared memory. options: for the compiler.
    """

    block: int
    held: bool
    warps: int

    @property
    def options(self) -> dict[str, int]:
        return {"num_warps": self.warps, "num_stages": 1}


HELD_BYTES = 48 * 1024  # of weights; the least GPU (sm_89) has 99 KiB per program, staging included
INTERPRETED_BLOCK = 2048  # Triton's interpreter takes nearly the same time for any tile


def for_mlps(size: int, *mlps: PackedMlp | None) -> Launch:
    """For a pass that runs these MLPs on tiles of a row or list of `size` pixels."""
    there = [mlp for mlp in mlps if mlp is not None]
    width = max(mlp.width for mlp in there)
    held = sum(mlp.weights.numel() * mlp.weights.element_size() for mlp in there) <= HELD_BYTES
    if interpreted():
        return Launch(min(INTERPRETED_BLOCK, max(16, triton.next_power_of_2(size))), held, 4)
    if there[0].weights.dtype == torch.float32:  # no tensor cores: the products take registers
        return Launch(16 if width > 96 else 32, False, 8 if width > 48 else 4)
    return Launch(128 if width <= 32 else 64, held, 4)


def block(block: int, size: int) -> int:
    """Of a pass without MLPs over rows or lists of `size` values: `block`, but in the
    interpreter.
    """
    most = 4 * INTERPRETED_BLOCK
    return min(most, triton.next_power_of_2(max(size, 1))) if interpreted() else block


@functools.cache
def interpreted() -> bool:
    """Whether the kernels run in Triton's interpreter (TRITON_INTERPRET=1 before the import)."""
    return bool(triton.knobs.runtime.interpret)
