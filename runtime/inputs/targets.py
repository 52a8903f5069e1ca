"""Arrays of the caller that a result is written into."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcsr.errors import UsageError

from .arguments import shown
from .arrays import is_tensor


def as_target(
    out: Any,  # noqa: ANN401
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    image: Any,  # noqa: ANN401
) -> NDArray[Any]:
    """Gives what a caller passes as `out` as an array of the same memory: an array, or a tensor of
    PyTorch on the CPU.

    image: the array or tensor that is read while `out` is written.

    Raises:
        UsageError: it is none of this shape and dtype, C-contiguous and writable, or lies in the
            image's memory.
    """
    expected = f"out must be an array {list(shape)} of {dtype}, C-contiguous and writable"
    if getattr(image, "is_cuda", False):
        raise UsageError("out is for images in the host's memory; leave it out for one on a GPU")
    array = _as_array(out)
    if array is None:
        raise UsageError(f"{expected}, found {shown(out)}")
    if (array.shape, array.dtype) != (shape, dtype):
        raise UsageError(f"{expected}, found {list(array.shape)} of {array.dtype}")
    if not (array.flags.c_contiguous and array.flags.writeable):
        state = "that is read-only" if array.flags.c_contiguous else "with gaps or turned axes"
        raise UsageError(f"{expected}, found one {state}")
    if np.may_share_memory(array, image.numpy() if is_tensor(image) else image):
        raise UsageError("out must not lie in the memory of the image; pass an array of its own")
    return array


def _as_array(out: Any) -> NDArray[Any] | None:  # noqa: ANN401
    if isinstance(out, np.ndarray) and not np.ma.isMaskedArray(out):
        return np.asarray(out)
    if is_tensor(out) and out.device.type == "cpu" and not out.requires_grad:
        found: NDArray[Any] = out.numpy()
        return found
    return None
