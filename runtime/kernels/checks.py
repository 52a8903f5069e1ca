"""Kernels read memory as they are told to: what they are given is checked before."""

import torch
from torch import Tensor

LARGEST = 2**31 - 2**16  # so that no tile counts past int32 either


def expect(name: str, tensor: Tensor, dtype: torch.dtype, shape: tuple[int | None, ...]) -> None:
    """Raises ValueError unless `tensor` is contiguous, of this dtype and shape (None: any size)."""
    fits = len(shape) == tensor.ndim and all(
        size is None or size == found for size, found in zip(shape, tensor.shape, strict=True)
    )
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
