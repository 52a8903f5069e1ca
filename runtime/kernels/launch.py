"""The launch of kernels: tensors are checked, because a kernel reads memory as it is told to; then
the pixels of a tile, warps, and what stays in shared memory are chosen.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import triton
from torch import Tensor

from pcsr.runtime.geometry.device_grid import DeviceGrid

from .packed import PackedMlp, PackedMlps
from .tiles import Tile

DTYPES: dict[torch.dtype, Any] = {
    torch.float32: triton.language.float32,
    torch.float16: triton.language.float16,
    torch.bfloat16: triton.language.bfloat16,
}
LARGEST = 2**31 - 2**16  # pixels of a band, so that no tile counts past int32 either
HELD_BYTES = 48 * 1024  # of weights; the least GPU (sm_89) has 99 KiB per program, staging included
WIDEST = (
    128  # channels of a block of an MLP: a float32 layer of 256 x 256 fits no GPU's shared memory
)
WARPGROUPS = 9  # the generation whose products of 64 pixels read shared memory by descriptors
TENSOR_MEMORY = (10, 11)  # generations whose products of four warps are in a memory of their own
LIMITED_WIDTH = 48  # channels of an MLP whose values fit few registers
INTERPRETED_BLOCK = 2048  # Triton's interpreter takes nearly the same time for any tile


def expect(name: str, tensor: Tensor, dtype: torch.dtype, shape: tuple[int | None, ...]) -> None:
    """Raises ValueError unless `tensor` is contiguous, of this dtype and shape (None: any size)."""
    sizes = zip(shape, tensor.shape, strict=False)
    fits = len(shape) == tensor.ndim and all(size in (None, found) for size, found in sizes)
    if not fits or tensor.dtype != dtype or not tensor.is_contiguous():
        layout = "" if tensor.is_contiguous() else ", not contiguous"
        raise ValueError(
            f"{name}: expected contiguous {dtype} {list(shape)}, "
            f"found {tensor.dtype} {list(tensor.shape)}{layout}"
        )


def expect_band(rows: int, width: int) -> None:
    """Raises ValueError if a band has more pixels than int32 counts."""
    if rows * width > LARGEST:
        raise ValueError(f"a band of {rows} x {width} pixels is too large; cut it into bands")


@dataclass(frozen=True)
class BandInputs:
    """Holds what a band of n output rows is computed from; h, w are the input's size, W the
    output's width.
    """

    mlps: PackedMlps
    grid: DeviceGrid
    pre: Tensor
    """[P, S] in the compute dtype: the first layers' products with the features, and
    `PackedMlps.constants`. P counts the pixels of the input rows from `top` on."""
    image: Tensor
    """[3, h, w] float32 RGB: the whole image."""
    first: int = 0
    """The output row that is row 0 of the canvas."""
    top: int = 0
    """The input row that is the first of `pre`."""

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """The first arguments of both kernels."""
        rows, columns = self.grid.rows, self.grid.columns
        axes = (rows.places, rows.shares, columns.places, columns.shares)
        return (self.pre, self.image, *axes)

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """H, W, w and h * w."""
        _, height, width = self.image.shape
        return len(self.grid.rows), len(self.grid.columns), width, height * width

    def check(self, canvas: Tensor) -> tuple[int, int]:
        """Gives the rows and columns of a canvas [n, W, 3].

        Raises:
            ValueError: a tensor does not fit, or the band has some 2^31 pixels or more.
        """
        stride, width = self.mlps.first_weight.shape[1], len(self.grid.columns)
        expect("pre", self.pre, self.mlps.dtype, (None, stride))
        expect("image", self.image, torch.float32, (3, None, None))
        expect("canvas", canvas, torch.float32, (None, width, 3))
        rows, first = canvas.shape[0], self.first
        expect_band(rows, width)
        if not 0 <= first <= first + rows <= len(self.grid.rows):
            raise ValueError(f"no output rows {first} to {first + rows}")
        return rows, width


def for_mlp(mlp: PackedMlp) -> dict[str, int]:
    """Chooses the constants and options of a pass that runs an MLP, but for its tile. HELD: whether
    the weights are loaded once per program and stay in shared memory.
    """
    # Without tensor cores the products take registers.
    held = _fits_shared_memory(mlp) and (interpreted() or _uses_tensor_cores(mlp))
    return {"HELD": held, "num_stages": 1}


def tiles_for_mlp(size: int, mlp: PackedMlp, others: Sequence[Tile]) -> list[Tile]:
    """Gives the tiles of a row or list of `size` pixels that a pass may run an MLP on. The first
    one is the largest whose values fit the registers, by compiling it; `others` follow where it is
    the usual one.
    """
    width, dtype = mlp.width, mlp.weights.dtype
    if interpreted():
        return [Tile(min(INTERPRETED_BLOCK, max(16, triton.next_power_of_2(size))), 4)]
    if not _uses_tensor_cores(mlp):
        return [Tile(64 if width <= 64 else 32, 4) if width <= 96 else Tile(16, 8)]
    is_narrow = width <= (96 if dtype == torch.float16 else 64)
    if generation(mlp.weights.device) in TENSOR_MEMORY:
        # With four warps the products of a tile would take more than it has.
        return [Tile(64, 2 if width <= 96 else 4)]
    if generation(mlp.weights.device) == WARPGROUPS and not _fits_shared_memory(mlp):
        # With 64 pixels ptxas 12.8 makes descriptors from loaded values: an illegal memory access
        # on an H200 (64x4, 170 channels; 64x8 would, 140). Products of 32 have no descriptors.
        return [Tile(32, 4)]
    if not is_narrow:
        return [Tile(64, 4)]
    return [Tile(128, 4), *(t for t in others if not t.most_registers or width <= LIMITED_WIDTH)]


def _fits_shared_memory(mlp: PackedMlp) -> bool:
    return mlp.weights.nbytes <= HELD_BYTES


def _uses_tensor_cores(mlp: PackedMlp) -> bool:
    return mlp.weights.dtype != torch.float32


def block(block: int, size: int) -> int:
    """Chooses the tile of a pass without MLPs over rows or lists of `size` values: it is `block`,
    but in the interpreter.
    """
    most = 4 * INTERPRETED_BLOCK
    return min(most, triton.next_power_of_2(max(size, 1))) if interpreted() else block


@functools.cache
def generation(device: torch.device) -> int:
    """Gives the major compute capability of a GPU; 0 for other devices."""
    return torch.cuda.get_device_capability(device)[0] if device.type == "cuda" else 0


@functools.cache
def interpreted() -> bool:
    """Tells whether kernels run in Triton's interpreter (TRITON_INTERPRET=1 before the import)."""
    return bool(triton.knobs.runtime.interpret)
