"""float32 means float32: PyTorch lets cuDNN round convolutions to TF32 by default."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def exact_float32() -> Iterator[None]:
    """No TF32 in the body, and the fastest convolution algorithm for each shape. PyTorch has these
    switches for the whole process: they are set back behind it.
    """
    matmul = torch.backends.cuda.matmul
    before = matmul.allow_tf32
    matmul.allow_tf32 = False
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False):
            yield
    finally:
        matmul.allow_tf32 = before
