"""The runner of backbones: one set of packed weights, and memory that calls use in turn."""

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcsr.bundle import Bundle
from pcsr.errors import BackendError, BundleError, ImageError
from pcsr.runtime.backends import CPU_SETS
from pcsr.runtime.cpu.pipeline import FloatArray, Size
from pcsr.runtime.process.cancellation import Cancellation

from .graph import read_network
from .integer_graph import read_integer_network
from .integer_program import IntegerProgram, has_integer_instructions
from .layers import Unsupported
from .plan import make_plan
from .structs import Program, Workspace, has_instructions

LOG = logging.getLogger("pcsr.upscaler")
MOST_PIXELS = 2**30
MOST_IDLE_BYTES = 64 * 2**20  # of workspaces that no call uses


def open_convolutions(
    bundle: Bundle, role: str, precision: str, threads: int
) -> "ConvolutionRunner":
    """Reads the graph of `backbone`: that of fp32 for `bf16`, whose weights it rounds, and that of
    the set int8-cpu for `int8`.

    Raises:
        Unsupported: the graph holds what is not computed here, or this processor has no such
            instructions.
        BundleError: the graph is damaged.
        BackendError: the onnx package, which reads it, is not installed.
    """
    kind = _kind_of(role, precision)
    data = bundle.graph_bytes(role, kind.graphs)
    import onnx

    model = onnx.load_from_string(data)
    try:
        return read_convolutions(model, role, bundle.image_output, precision, threads)
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise BundleError(f"{bundle.path}: the {role} graph is damaged: {error}") from error


def read_convolutions(
    model: Any,  # noqa: ANN401
    role: str,
    output: str,
    precision: str,
    threads: int,
) -> "ConvolutionRunner":
    """Reads a checked ONNX model that is, or will be, the graph of a bundle.

    Raises:
        Unsupported: as `open_convolutions`.
        ValueError: the graph is damaged.
    """
    program = _kind_of(role, precision).read(model, output)
    return ConvolutionRunner(role, output, program, threads)


def _kind_of(role: str, precision: str) -> "_Kind":
    """Gives what a precision needs. Raises Unsupported where it is not computed here."""
    if precision not in _READERS:
        raise Unsupported(f"pcsr's own convolutions compute in bf16 or int8, not in {precision}")
    if role != "backbone":
        raise Unsupported(f"pcsr's own convolutions run backbones, not the graph of a {role}")
    kind = _READERS[precision]
    if not (has_instructions() if precision == "bf16" else has_integer_instructions()):
        raise Unsupported(
            f"pcsr's own convolutions in {precision} need a processor with AVX-512 and "
            f"{kind.instructions}, and a compiler that knows it"
        )
    return kind


@dataclass(frozen=True)
class _Kind:
    """Says what one precision needs."""

    graphs: str
    """The set of graphs that it reads."""
    instructions: str
    read: Callable[[Any, str], Program]
    """(model, output)"""


_READERS = {
    "bf16": _Kind(
        "fp32",
        "bf16 (avx512_bf16)",
        lambda model, output: Program(read_network(model, output)),
    ),
    "int8": _Kind(
        CPU_SETS["int8"],
        "VNNI (avx512_vnni)",
        lambda model, output: IntegerProgram(read_integer_network(model, output)),
    ),
}


class ConvolutionRunner:
    """Runs one backbone. Several threads may call it at once."""

    cuts_exactly = True

    def __init__(self, role: str, output: str, program: Program, threads: int) -> None:
        self._role, self._output, self._program = role, output, program
        self._threads = max(1, threads)
        self._helpers = ThreadPoolExecutor(self._threads, thread_name_prefix="pcsr")
        self._idle: list[Workspace] = []
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
        if image.ndim != 4 or image.shape[:2] != (1, 3):
            raise ImageError(f"an image [1, 3, h, w] is needed, found {list(image.shape)}")
        height, width = image.shape[2:]
        if not 0 < height * width <= MOST_PIXELS:
            raise ImageError(f"an image of {width}x{height} pixels is empty or too large")
        try:
            features = np.empty((1, self._program.features, height, width), np.float32)
            self._run(np.ascontiguousarray(image, np.float32), features, cancellation)
        except MemoryError as error:
            raise ImageError(
                f"the {role} of {width}x{height} pixels finds no memory; try a smaller image"
            ) from error
        return [features]

    def run_rows(self, role: str, inputs: dict[str, NDArray[Any]]) -> FloatArray:
        raise BackendError(f"pcsr's own convolutions do not run the {role} graph")

    def working_bytes(self, size: Size) -> int:
        """Counts the bytes that an image of (height, width) takes beside its features."""
        return make_plan(self._program.network, size, self._threads).workspace_bytes

    def _run(
        self, image: FloatArray, features: FloatArray, cancellation: Cancellation | None
    ) -> None:
        workspace = self._borrowed((image.shape[2], image.shape[3]))
        workspace.begin(image, features)
        if cancellation is None:
            self._compute(workspace)
        else:
            cancellation.check()
            with cancellation.watched(workspace.stop):
                self._compute(workspace)
            cancellation.check()
        self._give_back(workspace)

    def _compute(self, workspace: Workspace) -> None:
        helpers: list[Future[None]] = []
        try:
            self._call_helpers(workspace, helpers)
            workspace.compute(0)
        except BaseException:
            workspace.stop()
            raise
        finally:  # they write into memory that is used again
            wait([helper for helper in helpers if not helper.cancel()])

    def _call_helpers(self, workspace: Workspace, helpers: list[Future[None]]) -> None:
        """Lets other threads take part; where none is to be had, this one computes everything."""
        try:
            for thread in range(1, self._threads):
                helpers.append(self._helpers.submit(workspace.compute, thread))
        except RuntimeError as error:
            LOG.debug("convolutions run in %d threads: %s", 1 + len(helpers), error)

    def _borrowed(self, size: Size) -> Workspace:
        with self._lock:
            for index in reversed(range(len(self._idle))):
                if self._idle[index].size == size:
                    return self._idle.pop(index)
        return Workspace(self._program, size, self._threads)

    def _give_back(self, workspace: Workspace) -> None:
        """Keeps the workspaces that were used last; always one."""
        workspace.end()
        with self._lock:
            self._idle.append(workspace)
            while len(self._idle) > 1 and sum(w.size_bytes for w in self._idle) > MOST_IDLE_BYTES:
                self._idle.pop(0)
