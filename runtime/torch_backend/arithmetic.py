"""PyTorch's settings while our code computes: those of the process, which are changed for the time
of a run, and those of the host's thread, which are left aside.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor

from .capture import away_from_captures

DEVICES = ("cpu", "cuda")


@contextmanager
def isolated() -> Iterator[None]:
    """Computes as in a thread where nothing is set: without inference mode, gradients, autocast,
    a default device and other function modes of the host's thread; they are back afterwards.

    What is made in here is ordinary memory, of which nothing belongs to the host's modes. The
    default dtype is one per process and stays: name a dtype wherever tensors are made.
    """
    with ExitStack() as stack:
        stack.enter_context(torch._C.DisableTorchFunction())
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        for kind in DEVICES:
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        yield


class _ExactSettings:
    """Counts who computes with our settings of the process: the first one sets them, the last one
    brings the host's back, so that threads with a device each do not wait for each other.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0
        self._of_thread = threading.local()
        self._host = ExitStack()

    @contextmanager
    def held(self) -> Iterator[None]:
        with self._lock:
            if not self._count:
                with ExitStack() as stack:  # closes where the second one raises
                    stack.enter_context(_exact_matmul())
                    stack.enter_context(_exact_convolutions())
                    self._host = stack.pop_all()
            self._count += 1
            self._of_thread.count = self._here + 1
        try:
            yield
        finally:
            with self._lock:
                self._count -= 1
                self._of_thread.count -= 1
                if not self._count:
                    self._host.close()

    @property
    def _here(self) -> int:
        count: int = getattr(self._of_thread, "count", 0)
        return count

    def renew(self) -> None:
        """Leaves a forked child what its one thread holds: the others, and a lock that one of them
        held, are not there to let go.
        """
        self._lock = threading.Lock()
        self._count = self._here
        if not self._count:
            self._host.close()


_SETTINGS = _ExactSettings()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_SETTINGS.renew)


@contextmanager
def exact_arithmetic() -> Iterator[None]:
    """Makes float32 exact (no TF32) and cuDNN choose its kernels without searching; the host's
    settings are back afterwards.

    PyTorch has these settings once per process: they last while any of our threads computes, and a
    host's thread that launches work at the same moment sees them too.
    """
    with _SETTINGS.held():
        yield


@contextmanager
def _exact_convolutions() -> Iterator[None]:
    conv = torch.backends.cudnn.conv  # type: ignore[attr-defined]  # a class in a module's place
    before = (torch.backends.cudnn.benchmark, conv.fp32_precision)
    # The settings for one kind of operator each: `cudnn.flags` raises where a host used these.
    # On an H200 a search finds nothing faster for the backbones: see `searched` for what it does.
    torch.backends.cudnn.benchmark = False
    conv.fp32_precision = "ieee"
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark, conv.fp32_precision = before


@contextmanager
def searched(image: Tensor) -> Iterator[None]:
    """Lets cuDNN search for the fastest kernel of a convolution of `image`, once per thread and
    shape; never during a capture, which would break: the run before it has searched.

    It is for transposed ones, where cuDNN's own choice is bad: plain FSRCNN at 1920x1080 in fp16
    takes 23.5 ms with it on an H200, and 4.46 after a search.
    """
    if not image.is_cuda or torch.cuda.is_current_stream_capturing():
        yield
        return
    with away_from_captures():  # PyTorch empties its cache behind a search
        before = torch.backends.cudnn.benchmark
        torch.backends.cudnn.benchmark = True
        try:
            yield
        finally:
            torch.backends.cudnn.benchmark = before


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
