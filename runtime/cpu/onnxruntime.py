"""The runner that runs a bundle's graphs on the CPU, in ONNX Runtime."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from numpy.typing import NDArray

from pcsr.bundle import Bundle
from pcsr.errors import ImageError
from pcsr.runtime.graph_outputs import GraphOutputs
from pcsr.runtime.onnxruntime_session import ERRORS, open_session, provider_of, run_options
from pcsr.runtime.process.cancellation import Cancellation
from pcsr.runtime.process.memory import ReusedMemory
from pcsr.runtime.shutdown import foreign_call
from pcsr.text import first_line

from .pipeline import FloatArray

OTHER_SHAPE = "computed output shape"  # ONNX Runtime, of a result that does not fit its memory
TYPES = {"tensor(float)": "float32", "tensor(float16)": "float16"}


class OnnxRuntimeRunner:
    """One session per graph: the image graph runs on all threads, row graphs run on the calling
    thread alone.

    Row graphs are fed chunks by a thread pool: on two cores that is about twice as fast as one
    large batch that ONNX Runtime splits inside each operator. What an image leads to is written
    into memory that is used again when nobody holds it.
    """

    def __init__(self, bundle: Bundle, precision: str, threads: int, roles: Sequence[str]) -> None:
        provider = provider_of("cpu")
        self._options, self._memory = run_options(), ReusedMemory()
        self._outputs = GraphOutputs(bundle, precision)
        self._sessions: dict[str, Any] = {}
        for role in roles:
            cores = threads if role == bundle.image_role else 1
            self._sessions[role] = open_session(bundle, role, precision, cores, provider)
        given = self._sessions[bundle.image_role].get_outputs()
        self._types = {each.name: TYPES[each.type] for each in given if each.type in TYPES}

    def run_image(
        self,
        role: str,
        image: FloatArray,
        outputs: Sequence[str],
        cancellation: Cancellation | None = None,
    ) -> list[FloatArray]:
        shapes = self._outputs.foresee((image.shape[2], image.shape[3]))
        session = self._sessions[role]
        with self._errors(role, cancellation) as options:
            if not all(name in self._types for name in outputs):
                found: list[FloatArray] = session.run(outputs, {"image": image}, options)
                return found
            found = [self._memory.take(shapes[name], self._types[name]) for name in outputs]
            binding = session.io_binding()
            binding.bind_cpu_input("image", image)
            for name, array in zip(outputs, found, strict=True):
                place = array.ctypes.data
                binding.bind_output(name, "cpu", 0, array.dtype, array.shape, place)
            try:
                session.run_with_iobinding(binding, options)
            except ERRORS as error:
                if OTHER_SHAPE not in str(error):
                    raise
                found = session.run(outputs, {"image": image}, options)  # what checks it says more
        return found

    def run_rows(self, role: str, inputs: dict[str, NDArray[Any]]) -> FloatArray:
        with self._errors(role) as options:
            outputs: list[FloatArray] = self._sessions[role].run(None, inputs, options)
        return outputs[0]

    @contextmanager
    def _errors(self, role: str, cancellation: Cancellation | None = None) -> Iterator[Any]:
        """Gives the options of a run in the body; what ONNX Runtime raises there is an ImageError,
        or CancelledError.
        """
        if cancellation is not None:
            cancellation.check()
        with foreign_call(), self._options_of(cancellation) as options:
            try:
                yield options
            except ERRORS as error:
                if cancellation is not None:
                    cancellation.check()
                raise ImageError(
                    f"ONNX Runtime fails in the {role} graph, out of memory or unfit for this "
                    f"image: {first_line(error)}; try a smaller image or scale"
                ) from error

    @contextmanager
    def _options_of(self, cancellation: Cancellation | None) -> Iterator[Any]:
        """Gives the options of a run, which stops between two operators where it is cancelled."""
        if cancellation is None:
            yield self._options
            return
        options = run_options()  # its own: to stop one run must not stop the others
        with cancellation.watched(lambda: setattr(options, "terminate", True)):
            yield options
