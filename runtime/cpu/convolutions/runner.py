"""The runner of backbones: one set of packed weights, and memory that calls use in turn."""

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcsr.bundle import Bundle
from pcsr.errors import BackendError, BundleError, ImageError
from pcsr.runtime.backends import CPU_SETS
from pcsr.runtime.cpu.pipeline import FloatArray, Size
from pcsr.runtime.process.cancellation import Cancellation
from pcsr.runtime.process.memory import ReusedMemory

from .graph import read_network
from .integer_graph import read_integer_network
from .integer_program import IntegerProgram, has_integer_instructions
from .layers import Unsupported
from .plan import Strip, make_plan, strips_of
from .structs import Program, Workspace, has_instructions

LOG = logging.getLogger("pcsr.upscaler")
MOST_PIXELS = 2**30
MOST_IDLE_BYTES = 64 * 2**20  # of workspaces that no call uses

Task = Callable[[], None]


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
    """Runs one backbone. Several threads may call it at once. Features are written into memory that
    is used again when nobody holds them.
    """

    cuts_exactly = True

    def __init__(self, role: str, output: str, program: Program, threads: int) -> None:
        self._role, self._output, self._program = role, output, program
        self._threads = max(1, threads)
        self._helpers = ThreadPoolExecutor(self._threads, thread_name_prefix="pcsr")
        self._idle: list[Workspace] = []
        self._lock, self._memory = threading.Lock(), ReusedMemory()

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
            features = self._memory.take((1, self._program.features, height, width), np.float32)
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
        strips, threads = self._divided(size[1])
        sizes = [(size[0], strip.width) for strip in strips]
        plans = [make_plan(self._program.network, one, threads) for one in sizes]
        return sum(plan.workspace_bytes for plan in plans)

    def _divided(self, width: int) -> tuple[list[Strip], int]:
        """Divides columns into strips; also says how many threads compute each of them."""
        strips = strips_of(self._program.network, width, self._threads)
        return strips, self._threads if len(strips) == 1 else 1

    def _run(
        self, image: FloatArray, features: FloatArray, cancellation: Cancellation | None
    ) -> None:
        height, width = image.shape[2:]
        strips, threads = self._divided(width)
        spaces = [self._borrowed((height, strip.width), threads) for strip in strips]
        for space, strip in zip(spaces, strips, strict=True):
            space.begin(image, features, strip)
        tasks = [partial(space.compute, thread) for space in spaces for thread in range(threads)]
        stop = partial(_stop, spaces)
        if cancellation is None:
            self._compute(tasks, stop)
        else:
            cancellation.check()
            with cancellation.watched(stop):
                self._compute(tasks, stop)
            cancellation.check()
        self._give_back(spaces)

    def _compute(self, tasks: Sequence[Task], stop: Task) -> None:
        helpers: list[Future[None]] = []
        try:
            self._call_helpers(tasks[1:], helpers)
            tasks[0]()
            for index, task in enumerate(tasks[1:]):
                if index >= len(helpers) or helpers[index].cancel():
                    task()
                else:
                    helpers[index].result()
        except BaseException:
            stop()
            raise
        finally:  # they write into memory that is used again
            wait([helper for helper in helpers if not helper.cancel()])

    def _call_helpers(self, tasks: Sequence[Task], helpers: list[Future[None]]) -> None:
        """Lets other threads take part; where none is to be had, this one computes everything."""
        try:
            for task in tasks:
                helpers.append(self._helpers.submit(task))
        except RuntimeError as error:
            LOG.debug("convolutions run in %d threads: %s", 1 + len(helpers), error)

    def _borrowed(self, size: Size, threads: int) -> Workspace:
        with self._lock:
            for index in reversed(range(len(self._idle))):
                idle = self._idle[index]
                if (idle.size, idle.threads) == (size, threads):
                    return self._idle.pop(index)
        return Workspace(self._program, size, threads)

    def _give_back(self, spaces: Sequence[Workspace]) -> None:
        """Keeps the workspaces that were used last; always those of one call."""
        for space in spaces:
            space.end()
        with self._lock:
            idle = self._idle
            idle += spaces
            while len(idle) > len(spaces) and sum(w.size_bytes for w in idle) > MOST_IDLE_BYTES:
                idle.pop(0)


def _stop(spaces: Sequence[Workspace]) -> None:
    for space in spaces:
        space.stop()
