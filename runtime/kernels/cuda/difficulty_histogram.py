"""Pixels by difficulty, counted in shared memory, where `adaptive` has atomic sums in memory."""

import torch
from torch import Tensor

from .compile import CudaKernel, cuda_kernel

THREADS = 1024
SHARED_BYTES = 2**15 * 4 + 8


def difficulty_histogram(logits: Tensor, upsamplers: int, extremes: Tensor, table: Tensor) -> None:
    """Adds the pixels of each bin to the table's first copy.

    Args:
        logits: [K, N] float32 on a GPU, of `dense`.
        upsamplers: M > 1.
        extremes: [2, P] int32, the keys of the least and of the largest difficulty logits.
        table: int32, of which the first 2^16 are the bins.

    Raises:
        RuntimeError: CUDA refuses the kernel: some GPUs have less shared memory than it takes.
        ImportError: cuda.bindings, which compiles it, is not installed.
    """
    device = logits.device
    blocks = torch.cuda.get_device_properties(device).multi_processor_count & ~1
    stream = torch.cuda.current_stream(device).cuda_stream
    tensors = (logits.data_ptr(), extremes.data_ptr(), table.data_ptr())
    kernel = kernel_for(device, upsamplers)
    kernel.launch((blocks, 1, 1), stream, *tensors, logits.shape[-1], extremes.shape[1])


def kernel_for(device: torch.device, upsamplers: int) -> CudaKernel:
    """Gives the kernel, compiled once per process, device and number of upsamplers."""
    shape = (THREADS, SHARED_BYTES)
    return cuda_kernel("difficulty_histogram", "PPPii", device, *shape, UPSAMPLERS=upsamplers)
