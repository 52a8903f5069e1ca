"""Calls libpcsr by ctypes: what the benchmark needs of it, for RGB of 8 bits."""

import ctypes
from collections.abc import Callable
from ctypes import (
    POINTER,
    Structure,
    byref,
    c_char_p,
    c_double,
    c_int32,
    c_int64,
    c_size_t,
    c_void_p,
)
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pcsr.errors import BackendError

MOST_UPSAMPLERS = 255
STAGES = (
    "prepare",
    "backbone",
    "classifier",
    "routing",
    "compose",
    "refinement",
    "convert",
    "alpha",
    "rows",
)


def onnxruntime_library() -> Path:
    """Finds the library in the wheel that Python uses.

    Raises:
        BackendError: it holds none.
    """
    import onnxruntime

    found = sorted((Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*"))
    if not found:
        raise BackendError("the onnxruntime package holds no libonnxruntime.so; install its wheel")
    return found[0]


class OpenOptions(Structure):
    """`pcsr_open_options`."""

    _fields_ = (
        ("struct_size", c_size_t),
        ("precision", c_char_p),
        ("onnxruntime", c_char_p),
        ("threads", c_int32),
        ("tile_px", c_int32),
        ("memory_bytes", c_int64),
        ("parallel_for", c_void_p),
        ("parallel_context", c_void_p),
    )


class Image(Structure):
    """`pcsr_image`."""

    _fields_ = (
        ("struct_size", c_size_t),
        ("data", c_void_p),
        *((name, c_int32) for name in ("width", "height", "channels", "format", "order", "layout")),
        ("row_stride", c_int64),
        ("plane_stride", c_int64),
    )

    @classmethod
    def of(cls, pixels: NDArray[np.uint8]) -> Self:
        """Describes [h, w, 3] without gaps, which has to outlive it."""
        height, width, channels = pixels.shape
        data = pixels.ctypes.data_as(c_void_p)
        return cls(ctypes.sizeof(cls), data, width=width, height=height, channels=channels)


class Statistics(Structure):
    """`pcsr_statistics`."""

    _fields_ = (
        ("struct_size", c_size_t),
        *((name, c_int32) for name in ("width", "height", "upsamplers")),
        ("threshold", c_double),
        ("total_ms", c_double),
        *((f"{stage}_ms", c_double) for stage in STAGES),
        ("pixels", c_int64 * MOST_UPSAMPLERS),
        ("upsampler_ms", c_double * MOST_UPSAMPLERS),
    )


class LibraryUpscaler:
    """A bundle that libpcsr has open.

    Raises:
        OSError: the library does not load.
        RuntimeError: what `pcsr_message` says.
    """

    def __init__(self, library: Path, bundle: Path, onnxruntime: Path, threads: int) -> None:
        self._library = ctypes.CDLL(str(library))
        self._library.pcsr_message.restype = c_char_p
        self._library.pcsr_message.argtypes = [c_void_p]
        self._library.pcsr_open.argtypes = [c_char_p, POINTER(OpenOptions), POINTER(c_void_p)]
        self._library.pcsr_close.argtypes = [c_void_p]
        self._library.pcsr_run.argtypes = [c_void_p, *[POINTER(Image)] * 2, c_void_p, c_void_p]
        size = ctypes.sizeof(OpenOptions)
        options = OpenOptions(size, onnxruntime=bytes(onnxruntime), threads=threads)
        self._handle = c_void_p()
        self._check(self._library.pcsr_open(bytes(bundle), byref(options), byref(self._handle)))
        self.statistics = Statistics(ctypes.sizeof(Statistics))
        """Of the last call."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._library.pcsr_close(self._handle)

    def prepared(self, image: NDArray[np.uint8], scale: int) -> Callable[[], NDArray[np.uint8]]:
        """Makes a call of no arguments that upscales an image, always into the same memory."""
        height, width, channels = image.shape
        out = np.zeros((height * scale, width * scale, channels), np.uint8)
        pixels = (image, out)  # which the call below keeps alive
        given = (self._handle, *map(Image.of, pixels), None, byref(self.statistics))

        def call() -> NDArray[np.uint8]:
            self._check(self._library.pcsr_run(*given))
            return pixels[1]

        return call

    def _check(self, status: int) -> None:
        if status:
            raise RuntimeError(self._library.pcsr_message(None).decode())
