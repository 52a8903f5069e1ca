"""Tensors of the server: NumPy arrays on the host, DLPack on a GPU, where they stay."""

from typing import Any

import numpy as np


def shape_of(tensor: Any) -> tuple[int, ...]:  # noqa: ANN401
    """Gives the shape of the server's tensor, wherever it is."""
    return tuple(tensor.shape())


def copied(tensor: Any) -> Any:  # noqa: ANN401
    """Copies the server's tensor, completely: into a NumPy array, or into PyTorch's tensor on the
    same GPU.
    """
    if tensor.is_cpu():
        return np.array(tensor.as_numpy(), copy=True)
    from torch.utils.dlpack import from_dlpack

    copy = from_dlpack(tensor.to_dlpack()).clone()  # what the server hands over is ready
    finished(copy)
    return copy


def finished(tensor: Any) -> None:  # noqa: ANN401
    """Waits for what was queued on the current stream of a tensor's device."""
    if tensor.is_cuda:
        import torch

        torch.cuda.current_stream(tensor.device).synchronize()


def on_host(array: Any) -> Any:  # noqa: ANN401
    """Gives a NumPy array of an array or a tensor; it waits for the device."""
    return array if isinstance(array, np.ndarray) else array.cpu().numpy()


def as_output(utils: Any, name: str, array: Any) -> Any:  # noqa: ANN401
    """Makes the server's tensor. Of PyTorch's tensor it shares the memory, where that is."""
    if isinstance(array, np.ndarray):
        return utils.Tensor(name, np.ascontiguousarray(array))
    contiguous = array.contiguous()
    finished(contiguous)  # the server reads it without looking at our stream
    return utils.Tensor.from_dlpack(name, contiguous)
