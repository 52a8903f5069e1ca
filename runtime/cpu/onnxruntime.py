"""The runner that runs a bundle's graphs on the CPU, in ONNX Runtime."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from numpy.typing import NDArray

from pcsr.bundle import Bundle
from pcsr.errors import ImageError
from pcsr.runtime.onnxruntime_session import ERRORS, open_session, provider_of, run_options
from pcsr.runtime.process.cancellation import Cancellation
from pcsr.runtime.shutdown import foreign_call
from pcsr.text import first_line

from .pipeline import FloatArray


class OnnxRuntimeRunner:
    """One session per graph: the image graph runs on all threads, row graphs run on the calling
    thread alone.

    Row graphs are fed chunks by a thread pool: on two cores that is about twice as fast as one
    large batch that ONNX Runtime splits inside each operator.
    """

    def __init__(self, bundle: Bundle, precision: str, threads: int, roles: Sequence[str]) -> None:
        provider = provider_of("cpu")
        self._options = run_options()
        self._sessions: dict[str, Any] = {}
        for role in roles:
            cores = threads if role == bundle.image_role else 1
            self._sessions[role] = open_session(bundle, role, precision, cores, provider)

    def run_image(
        self,
        role: str,
        image: FloatArray,
        outputs: Sequence[str],
        cancellation: Cancellation | None = None,
    ) -> list[FloatArray]:
        return self._run(role, {"image": image}, outputs, cancellation)

    def run_rows(self, role: str, inputs: dict[str, NDArray[Any]]) -> FloatArray:
        return self._run(role, inputs, None)[0]

    def _run(
        self,
        role: str,
        inputs: dict[str, NDArray[Any]],
        names: Sequence[str] | None,
        cancellation: Cancellation | None = None,
    ) -> list[FloatArray]:
        if cancellation is not None:
            cancellation.check()
        with foreign_call(), self._options_of(cancellation) as options:
            try:
                outputs: list[FloatArray] = self._sessions[role].run(names, inputs, options)
            except ERRORS as error:
                if cancellation is not None:
                    cancellation.check()
                raise ImageError(
                    f"ONNX Runtime fails in the {role} graph, out of memory or unfit for this "
                    f"image: {first_line(error)}; try a smaller image or scale"
                ) from error
        return outputs

    @contextmanager
    def _options_of(self, cancellation: Cancellation | None) -> Iterator[Any]:
        """Gives the options of a run, which stops between two operators where it is cancelled."""
        if cancellation is None:
            yield self._options
            return
        options = run_options()  # its own: to stop one run must not stop the others
        with cancellation.watched(lambda: setattr(options, "terminate", True)):
            yield options
