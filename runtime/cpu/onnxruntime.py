"""The runner that runs a bundle's graphs on the CPU, in ONNX Runtime."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
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
KEPT_BINDINGS = 8
TYPES = {"tensor(float)": "float32", "tensor(float16)": "float16"}


class _Bindings:
    """Runs a session on arrays, and keeps what it was told of them by where they lie: the arrays of
    an image often lie where those of the one before did, and to tell it all takes 10 us, or 50
    where Python's code is no longer in the cache.
    """

    def __init__(self) -> None:
        self._kept: dict[Any, Any] = {}

    def run(
        self,
        session: Any,  # noqa: ANN401
        image: FloatArray,
        outputs: dict[str, FloatArray],
        options: Any,  # noqa: ANN401
    ) -> None:
        places = [each.__array_interface__["data"][0] for each in (image, *outputs.values())]
        key = (session, image.shape, *outputs, *places)
        binding = self._kept.pop(key, None)  # nobody else's meanwhile
        if binding is None:
            binding = session.io_binding()
            arrays = {"image": image, **outputs}
            for (name, array), place in zip(arrays.items(), places, strict=True):
                bind = binding.bind_input if array is image else binding.bind_output
                bind(name, "cpu", 0, array.dtype, array.shape, place)
        session.run_with_iobinding(binding, options)
        if len(self._kept) >= KEPT_BINDINGS:
            self._kept.clear()
        self._kept[key] = binding


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
        self._bindings = _Bindings()
        given = self._sessions[bundle.image_role].get_outputs()
        self._types = {each.name: TYPES[each.type] for each in given if each.type in TYPES}

    def run_image(
        self,
        role: str,
        image: FloatArray,
        outputs: Sequence[str],
        cancellation: Cancellation | None = None,
    ) -> list[FloatArray]:
        session = self._sessions[role]

        def run(options: Any) -> list[FloatArray]:  # noqa: ANN401
            if self._types.keys() >= set(outputs):
                return self._run_bound(session, image, outputs, options)
            found: list[FloatArray] = session.run(outputs, {"image": image}, options)
            return found

        return self._called(role, run, cancellation)

    def run_rows(self, role: str, inputs: dict[str, NDArray[Any]]) -> FloatArray:
        outputs = self._called(role, partial(self._sessions[role].run, None, inputs))
        return outputs[0]

    def _run_bound(
        self,
        session: Any,  # noqa: ANN401
        image: FloatArray,
        outputs: Sequence[str],
        options: Any,  # noqa: ANN401
    ) -> list[FloatArray]:
        """Runs a session, which writes into memory that is used again."""
        shapes = self._outputs.foresee((image.shape[2], image.shape[3]))
        image = np.ascontiguousarray(image, np.float32)
        found = [self._memory.take(shapes[name], self._types[name]) for name in outputs]
        try:
            self._bindings.run(session, image, dict(zip(outputs, found, strict=True)), options)
        except ERRORS as error:
            if OTHER_SHAPE not in str(error):
                raise
            found = session.run(outputs, {"image": image}, options)  # what checks it says more
        return found

    def _called(
        self,
        role: str,
        run: Callable[[Any], list[FloatArray]],
        cancellation: Cancellation | None = None,
    ) -> list[FloatArray]:
        """Calls `run` with the options of a run, which stops between two operators where it is
        cancelled. What ONNX Runtime raises is an ImageError, or CancelledError.
        """
        if cancellation is not None:
            cancellation.check()
        with foreign_call():
            try:
                if cancellation is None:
                    return run(self._options)
                options = run_options()  # its own: to stop one run must not stop the others
                with cancellation.watched(lambda: setattr(options, "terminate", True)):
                    return run(options)
            except ERRORS as error:
                if cancellation is not None:
                    cancellation.check()
                raise ImageError(
                    f"ONNX Runtime fails in the {role} graph, out of memory or unfit for this "
                    f"image: {first_line(error)}; try a smaller image or scale"
                ) from error
