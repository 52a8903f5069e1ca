"""The runner of the graphs that are convolutions: one set of packed weights, and memory that calls
share one after another.
"""

import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcsr.bundle import Bundle
from pcsr.errors import BackendError, BundleError, ImageError
from pcsr.runtime.cpu.pipeline import FloatArray
from pcsr.runtime.process.cancellation import Cancellation

from .graph import read_network
from .layers import Unsupported
from .plan import make_plan
from .structs import Image, Program, can_convolve, convolve

ROUND_ROWS = 8
MOST_PIXELS = 2**30
KEPT_PLANS = 8


def open_convolutions(
    bundle: Bundle, role: str, precision: str, threads: int
) -> "ConvolutionRunner":
    """Reads the graph of `backbone` and packs its weights.

    Args:
        precision: bf16; the bundle's fp32 graph is read.

    Raises:
        Unsupported: the graph holds what these convolutions do not compute, or this processor has
            no such instructions.
        BundleError: the graph is damaged.
        BackendError: the onnx package, which reads it, is not installed.
    """
    if precision != "bf16":
        raise Unsupported(f"pcsr's own convolutions compute in bf16, not in {precision}")
    if role != "backbone":
        raise Unsupported(f"pcsr's own convolutions run backbones; {role} has a tail of its own")
    if not can_convolve("bf16"):
        raise Unsupported("this processor has no AVX-512 with bf16 (avx512_bf16)")
    data = bundle.graph_bytes(role, "fp32")
    import onnx

    try:
        network = read_network(onnx.load_from_string(data), bundle.image_output)
    except (ValueError, IndexError, TypeError) as error:
        raise BundleError(f"{bundle.path}: the {role} graph is damaged: {error}") from error
    return ConvolutionRunner(role, bundle.image_output, Program(network), threads)


class ConvolutionRunner:
    """Runs one backbone. Several threads may call it at once."""

    cuts_exactly = True

    def __init__(self, role: str, output: str, program: Program, threads: int) -> None:
        self._role, self._output, self._program = role, output, program
        self._threads = max(1, threads)
        self._pool = ThreadPoolExecutor(max(1, threads - 1), thread_name_prefix="pcsr")
        self._images: dict[tuple[int, int], list[Image]] = {}
        self._lock = threading.Lock()

    def run_image(
        self,
        role: str,
        image: FloatArray,
        outputs: Sequence[str],
        cancellation: Cancellation | None = None,
    ) -> list[FloatArray]:
        if role != self._role or tuple(outputs) != (self._output,):
            raise BackendError(f"pcsr's own convolutions give {self._output} of the {self._role}")
        if image.ndim != 4 or image.shape[:2] != (1, 3) or image.dtype != np.float32:
            raise BackendError(f"an image [1, 3, h, w] is needed, found {list(image.shape)}")
        height, width = image.shape[2:]
        if not height or not width or height * width > MOST_PIXELS:
            raise ImageError(f"an image of {width}x{height} pixels is empty or too large")
        try:
            features = np.empty((1, self._program.features, height, width), np.float32)
            self._run(np.ascontiguousarray(image), features, cancellation)
        except MemoryError as error:
            raise ImageError(
                f"no memory is left for the backbone of {width}x{height} pixels; "
                "try a smaller image"
            ) from error
        return [features]

    def run_rows(self, role: str, inputs: dict[str, NDArray[Any]]) -> FloatArray:
        raise BackendError(f"pcsr's own convolutions do not run the {role} graph")

    def working_bytes(self, size: tuple[int, int]) -> int:
        """Counts the bytes of memory that images of (height, width) take."""
        return make_plan(self._program.network, size, ROUND_ROWS).total_bytes

    def _run(
        self, image: FloatArray, features: FloatArray, cancellation: Cancellation | None
    ) -> None:
        lent = self._lent((image.shape[2], image.shape[3]))
        run = lent.run(image, features)
        if cancellation is None:
            self._compute(lent, run)
        else:
            cancellation.check()
            with cancellation.watched(run.stop):
                self._compute(lent, run)
            cancellation.check()
        with self._lock:
            self._images.setdefault(lent.plan.size, []).append(lent)
            while len(self._images) > KEPT_PLANS:
                self._images.pop(next(iter(self._images)))

    def _compute(self, lent: Image, run: Any) -> None:  # noqa: ANN401
        helpers: list[Future[None]] = []
        try:
            for thread in range(1, self._threads):
                helpers.append(self._pool.submit(convolve, self._program, lent, run, thread))
        except RuntimeError:
            pass  # no thread is to be had: this one computes everything
        try:
            convolve(self._program, lent, run, 0)
        finally:
            if not run.is_finished:
                run.stop()
            wait([helper for helper in helpers if not helper.cancel()])

    def _lent(self, size: tuple[int, int]) -> Image:
        with self._lock:
            free = self._images.get(size)
            if free:
                return free.pop()
        return Image(self._program, make_plan(self._program.network, size, ROUND_ROWS), self._threads)
