"""PyTorch's process-wide settings of arithmetic are changed for the time of a run."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_LOCK = threading.RLock()


def _renew_lock() -> None:
    """A child forked while another thread runs would wait for that thread, which it lacks."""
    global _LOCK
    _LOCK = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


@contextmanager
def exact_arithmetic() -> Iterator[None]:
    """Makes float32 exact (no TF32) and cuDNN pick its kernels by trying; the host's settings are
    back afterwards.

    PyTorch has these settings once per process: our own threads take turns here, but a host's
    thread that launches work at the same moment sees them too.
    """
    conv = torch.backends.cudnn.conv  # type: ignore[attr-defined]  # a class in a module's place
    with _LOCK:
        before = (torch.backends.cudnn.benchmark, conv.fp32_precision)
        # The settings for one kind of operator each: `cudnn.flags` raises where a host used these.
        torch.backends.cudnn.benchmark = True
        conv.fp32_precision = "ieee"
        try:
            with _exact_matmul():
                yield
        finally:
            torch.backends.cudnn.benchmark, conv.fp32_precision = before


@contextmanager
def _exact_matmul() -> Iterator[None]:
    """cuBLAS looks at an old and a new setting, and raises where they disagree."""
    matmul = torch.backends.cuda.matmul
    new = matmul.fp32_precision
    if new != "tf32":
        yield
        return
    try:
        old = torch.get_float32_matmul_precision()
    except RuntimeError:  # the host set the new one alone
        old = None
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        if old is None:
            matmul.fp32_precision = new
        else:
            torch.set_float32_matmul_precision(old)
