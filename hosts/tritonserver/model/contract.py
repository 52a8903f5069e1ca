"""The tensors that a model takes and gives, by their names."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Tensor(NamedTuple):
    """Describes a tensor as config.pbtxt does."""

    name: str
    data_type: str
    """Triton's name of its type, as TYPE_UINT8."""
    dims: tuple[int, ...]
    """Its shape; -1 for any length."""


ONE = (1,)
IMAGE = (-1, -1, -1)  # height, width, channels
ENCODED = "ENCODED"
PIXELS = {"IMAGE": "uint8", "IMAGE_UINT16": "uint16", "IMAGE_FP32": "float32"}
"""The inputs that hold pixels, and their types in NumPy's words."""
RESULTS = {"uint8": "RESULT", "uint16": "RESULT_UINT16", "float32": "RESULT_FP32"}
"""The outputs that hold pixels, by their types."""
RESULT_ENCODED = "RESULT_ENCODED"
HEAVY_SHARE, THRESHOLD, STAGE_MS, ROUTING = "HEAVY_SHARE", "THRESHOLD", "STAGE_MS", "ROUTING"
OUTPUT_FORMAT, QUALITY, TIMEOUT_MS, SCALE = "OUTPUT_FORMAT", "QUALITY", "TIMEOUT_MS", "SCALE"

_TYPES = {"uint8": "TYPE_UINT8", "uint16": "TYPE_UINT16", "float32": "TYPE_FP32"}
# In FP64, so that an option is the same number as in Python.
ROUTES = {
    "K": "TYPE_FP64",
    "ADAPTIVE": "TYPE_BOOL",
    "HEAVY_RATIO": "TYPE_FP64",
    "PRESET": "TYPE_STRING",
    "BUDGET_MS": "TYPE_FP64",
    "MAX_PSNR_LOSS_DB": "TYPE_FP64",
    "REFINE": "TYPE_BOOL",
}
"""The options that say how an image is routed: the keywords of a call, in capitals."""
OPTIONS = {
    SCALE: "TYPE_FP64",
    **ROUTES,
    OUTPUT_FORMAT: "TYPE_STRING",
    QUALITY: "TYPE_INT32",
    TIMEOUT_MS: "TYPE_FP64",
}

INPUTS = (
    *(Tensor(name, _TYPES[dtype], IMAGE) for name, dtype in PIXELS.items()),
    Tensor(ENCODED, "TYPE_STRING", ONE),
    *(Tensor(name, kind, ONE) for name, kind in OPTIONS.items()),
)
"""All of them are optional; a request has exactly one image."""
OUTPUTS = (
    *(Tensor(name, _TYPES[dtype], IMAGE) for dtype, name in RESULTS.items()),
    Tensor(RESULT_ENCODED, "TYPE_STRING", ONE),
    Tensor(HEAVY_SHARE, "TYPE_FP64", ONE),
    Tensor(THRESHOLD, "TYPE_FP64", ONE),
    Tensor(STAGE_MS, "TYPE_STRING", ONE),
    Tensor(ROUTING, "TYPE_UINT8", (-1, -1)),
)
"""A response has those that were asked for."""
FORMATS = {"png": ".png", "jpeg": ".jpg", "webp": ".webp", "tiff": ".tiff"}
"""The names of OUTPUT_FORMAT, and the suffixes of such files."""


def text_array(data: bytes) -> NDArray[np.object_]:
    """Makes an array [1] of a BYTES tensor."""
    return np.array([data], dtype=np.object_)


def number_array(value: float) -> NDArray[np.float64]:
    """Makes an array [1] of an FP64 tensor."""
    return np.array([value], dtype=np.float64)
