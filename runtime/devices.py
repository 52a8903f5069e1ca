"""Names of devices: `cpu`, `cuda` and `cuda:N`. PyTorch is imported only where it is needed."""

import os
import re
from functools import cache
from typing import TYPE_CHECKING

from pcsr.errors import BackendError, UsageError

if TYPE_CHECKING:
    import torch

_NAME = re.compile(r"(cpu)|(cuda)(?::([0-9]+))?")


def parse_device(name: str) -> tuple[str, int | None]:
    """Splits a name: `cpu` gives ("cpu", None), `cuda` ("cuda", None), `cuda:1` ("cuda", 1).

    Raises:
        UsageError: the name is none of these.
    """
    found = _NAME.fullmatch(name)
    if found is None:
        raise UsageError(f"unknown device '{name}'; expected cpu, cuda or cuda:N")
    return found[1] or found[2], int(found[3]) if found[3] else None


def device_names(names: str) -> list[str]:
    """Splits the names of one or more devices, as `cuda:0,cuda:1`.

    Raises:
        UsageError: an unknown name, or one device named twice; `cuda` is `cuda:0` here.
    """
    found = [name.strip() for name in names.split(",")]
    known = [parse_device(name) for name in found]
    places = [(kind, 0 if index is None else index) for kind, index in known]
    twice = [name for n, name in enumerate(found) if places[n] in places[:n]]
    if twice:
        raise UsageError(f"device '{twice[0]}' is named twice in '{names}'; name each once")
    return found


def torch_device(name: str) -> "torch.device":
    """Gives PyTorch's device of this name, if it is really there and never another one; `cuda` is
    PyTorch's current GPU.

    Raises:
        UsageError: an unknown name.
        BackendError: a PyTorch without CUDA, no such GPU, or a process that was forked after CUDA
            was started.
    """
    import torch

    kind, index = parse_device(name)
    if kind == "cpu":
        _one_thread_in_children()
        return torch.device("cpu")
    if not torch.version.cuda:
        raise BackendError(
            f"device '{name}' is not there: PyTorch {torch.__version__} is built without CUDA; "
            "install one with it from pytorch.org, or run with --device cpu"
        )
    if torch.cuda._is_in_bad_fork():
        raise BackendError(
            f"device '{name}' cannot be used in a process that was forked after CUDA was started; "
            "start processes with spawn (multiprocessing.set_start_method), or open first after "
            "the fork"
        )
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count == 0:
        raise BackendError(
            f"device '{name}' is not there: PyTorch {torch.__version__} finds no NVIDIA GPU with a "
            "working driver (see nvidia-smi); run with --device cpu"
        )
    number = torch.cuda.current_device() if index is None else index
    if number >= count:
        last = f"cuda:0 to cuda:{count - 1}" if count > 1 else "cuda:0 only"
        raise BackendError(f"device '{name}' is not there (this machine has {last})")
    return torch.device("cuda", number)


@cache
def _one_thread_in_children() -> None:
    """Leaves forked children one thread of PyTorch's: its pool has none there, and it would wait
    for them.
    """
    import torch

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))
