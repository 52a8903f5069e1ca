"""Images as callers hold them, as NumPy arrays: arrays, Pillow's images, tensors on the CPU.

Neither Pillow nor PyTorch is imported: a caller who holds such an image has done that.
"""

import os
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcsr.errors import ImageError

Pixels = NDArray[Any]

AS_THEY_ARE = ("L", "LA", "RGB", "RGBA", "F")
CONVERTED = {"1": "L", "PA": "RGBA"}
"""The modes of Pillow that another one holds without loss or doubt."""
TO_RGB = 'image.convert("RGB")'
ADVICE = {
    "I": "np.asarray(image).astype(np.uint16), if its values are from 0 to 65535",
    "LAB": "RGB (with PIL.ImageCms)",
    "La": 'image.convert("LA")',
    "RGBa": 'image.convert("RGBA")',
}
IN_HOST_MEMORY = (1, 3)  # DLPack's kDLCPU and kDLCUDAHost


def as_array(image: Any) -> Pixels:  # noqa: ANN401
    """Gives a caller's image as an array, without a copy where that is possible.

    Of a Pillow image the palette is applied, and its colours become RGB or RGBA; mode 1 becomes
    gray, I;16 uint16.

    Raises:
        ImageError: it is no array on the CPU, is masked, or has a mode that is not taken.
    """
    if type(image) is np.ndarray:
        return image
    if isinstance(image, str | bytes | os.PathLike):
        raise ImageError(
            f"expected an array, found a {type(image).__name__}; read the file first "
            "(pcsr.images.read), or call pcsr.upscale_file"
        )
    if is_of(image, "PIL.Image", "Image"):
        return _of_pillow(image)
    if np.ma.is_masked(image):
        raise ImageError("expected an image without masked pixels; fill them, as image.filled(0)")
    if isinstance(image, np.ndarray):
        return np.asarray(image)
    _refuse_elsewhere(image)
    try:
        return np.from_dlpack(image) if hasattr(image, "__dlpack__") else np.asarray(image)
    except Exception as error:  # whatever a foreign object raises
        raise ImageError(
            f"expected an array on the CPU, found {type(image).__name__}: {error}"
        ) from error


def is_of(value: Any, module: str, name: str) -> bool:  # noqa: ANN401
    """Tests for a class of a module that need not be imported."""
    kind = getattr(sys.modules.get(module), name, None)
    return isinstance(kind, type) and isinstance(value, kind)


def is_tensor(image: Any) -> bool:  # noqa: ANN401
    """Tests for a PyTorch tensor."""
    return is_of(image, "torch", "Tensor")


def _of_pillow(image: Any) -> Pixels:  # noqa: ANN401
    mode: str = image.mode
    try:
        if mode == "P":
            return np.asarray(image.convert("RGBA" if _has_clear_colours(image) else "RGB"))
        if mode.startswith("I;16"):
            return np.asarray(image).astype(np.uint16)
        if mode in AS_THEY_ARE or mode in CONVERTED:
            return np.asarray(image.convert(CONVERTED[mode]) if mode in CONVERTED else image)
    except (OSError, SyntaxError, ValueError) as error:
        raise ImageError(f"cannot read the Pillow image: {error}") from error
    raise ImageError(
        f"expected a Pillow image of mode 1, L, LA, P, PA, RGB, RGBA, I;16 or F, found {mode}; "
        f"convert it first: {ADVICE.get(mode, TO_RGB)}"
    )


def _has_clear_colours(image: Any) -> bool:  # noqa: ANN401
    palette = getattr(image.palette, "mode", "RGB")
    return "transparency" in image.info or palette in ("RGBA", "RGBa", "LA")


def _refuse_elsewhere(image: Any) -> None:  # noqa: ANN401
    """Refuses what another device holds, and tensors whose gradient is recorded."""
    name = type(image).__name__
    if getattr(image, "requires_grad", False):
        raise ImageError(
            f"expected an image without gradient, found a {name} that requires one; pass "
            "image.detach()"
        )
    if is_tensor(image) and image.layout is not _strided():
        raise ImageError(f"expected a dense tensor, found {image.layout}; pass image.to_dense()")
    if is_tensor(image) and str(image.dtype) == "torch.bfloat16":
        raise ImageError("expected uint8, uint16 or float32, found bfloat16; pass image.float()")
    if is_tensor(image) and image.device.type != "cpu":
        raise ImageError(
            f"expected an array on the CPU, found a {name} on {image.device}; pass image.cpu(), or "
            "open the bundle on that device"
        )
    where = getattr(image, "__dlpack_device__", None)
    if where is not None and where()[0] not in IN_HOST_MEMORY:
        raise ImageError(
            f"expected an array on the CPU, found a {name} on another device; copy it to the CPU"
        )


def _strided() -> Any:  # noqa: ANN401
    return sys.modules["torch"].strided
