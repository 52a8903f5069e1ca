"""`cpu`, `cuda` and `cuda:N` as PyTorch devices that are really there."""

import torch

from pcsr.errors import BackendError


def torch_device(name: str) -> torch.device:
    """The device of this name; `cuda` is PyTorch's current GPU. Never another one than asked for.

    Raises:
        BackendError: an unknown name, a PyTorch without CUDA, or no such GPU.
    """
    kind, colon, index = name.partition(":")
    if name == "cpu":
        return torch.device("cpu")
    if kind != "cuda" or (colon and not (index.isascii() and index.isdigit())):
        raise BackendError(f"unknown device '{name}' (expected cpu, cuda or cuda:N)")
    if not torch.version.cuda:
        raise BackendError(
            f"device '{name}' is not there: PyTorch {torch.__version__} is built without CUDA; "
            "install one with it from pytorch.org, or run with --device cpu"
        )
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count == 0:
        raise BackendError(
            f"device '{name}' is not there: PyTorch {torch.__version__} finds no NVIDIA GPU with a "
            "working driver (see nvidia-smi); run with --device cpu"
        )
    number = int(index) if colon else torch.cuda.current_device()
    if number >= count:
        last = f"cuda:0 to cuda:{count - 1}" if count > 1 else "cuda:0 only"
        raise BackendError(f"device '{name}' is not there (this machine has {last})")
    return torch.device("cuda", number)
