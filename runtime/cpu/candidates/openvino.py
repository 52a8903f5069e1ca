"""The runner that runs a bundle's image graph on the CPU in OpenVINO, which computes it in bf16."""

import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any
from weakref import finalize

from numpy.typing import NDArray

from pcsr.bundle import Bundle
from pcsr.errors import BackendError, BundleError, ImageError
from pcsr.runtime.cpu.pipeline import FloatArray
from pcsr.runtime.machine import cpu_flags
from pcsr.runtime.process.cancellation import Cancellation, locked
from pcsr.runtime.shutdown import foreign_call
from pcsr.text import one_line

TELEMETRY = "openvino_telemetry"
ERRORS = (RuntimeError, MemoryError, ValueError)
"""What OpenVINO raises."""
KEPT_REQUESTS = 2
SHARED = {"share_inputs": True, "share_outputs": True}
"""Without it each call makes copies, of the result, too."""
TESTED = """
    Parameter Constant Result Convolution GroupConvolution Relu PRelu Add Subtract Multiply Divide
    Concat DepthToSpace Reshape Transpose Convert ShapeOf Slice StridedSlice VariadicSplit Gather
    Broadcast Squeeze Unsqueeze
"""
EXACT = frozenset(TESTED.split())
"""Operators whose results are the same for any cut: a deconvolution's depend on the threads."""
_loaded: dict[str, Any] = {}
"""`core`, OpenVINO's own, and the `process` that started it."""


class OpenVinoRunner:
    """Runs the image graph of the fp32 set in bf16, with float32 at its ends. Calls take turns:
    each has all threads.

    The graph takes images of any size as it is: to compile it for one size gains 5 % at 64x64 and
    nothing at 420x276, and takes as long as several calls. Where `cuts_exactly` is set, results do
    not depend on threads, nor on how the image is cut, as was tested for operators of `EXACT`.

    Raises:
        BackendError: OpenVINO is not installed, does not compute bf16 on this processor, or runs in
            a process that this one was forked from.
        BundleError: the graph is damaged, or OpenVINO refuses it.
    """

    def __init__(self, bundle: Bundle, threads: int) -> None:
        self._role, self._output = bundle.image_role, bundle.image_output
        self._name = str(bundle.path)
        self._model, self._threads = self._read(bundle), threads
        self._turn = threading.Lock()
        self._begin()
        operators = {one.get_type_name() for one in self._model.get_ops()}
        self.cuts_exactly = operators <= EXACT and "amx_bf16" not in cpu_flags()

    def run_image(
        self,
        role: str,
        image: FloatArray,
        outputs: Sequence[str],
        cancellation: Cancellation | None = None,
    ) -> list[FloatArray]:
        if (role, *outputs) != (self._role, self._output):
            raise BackendError(f"OpenVINO runs {self._output} of {self._role} alone, not {role}")
        if cancellation is not None:
            cancellation.check()
        with locked(self._turn, cancellation), foreign_call():
            request = self._request()
            self._infer(request, image, cancellation)
        found: FloatArray = request.get_output_tensor(0).data
        # The result is the request's own memory, which is used again once nobody holds it.
        finalize(found, _give_back, self._free, request).atexit = False
        return [found]

    def run_rows(self, role: str, inputs: dict[str, NDArray[Any]]) -> FloatArray:
        raise BackendError(f"OpenVINO runs the {self._role} graph alone, not {role}")

    def _begin(self) -> None:
        """Compiles the graph, and forgets the requests of an earlier compilation."""
        self._compiled: Any = self._compile(self._model, self._threads)
        self._free: list[Any] = []

    def _read(self, bundle: Bundle) -> Any:  # noqa: ANN401
        """Reads the graph, with the one output that is used."""
        ov, core = openvino(), _core()
        data = bundle.graph_bytes(self._role)
        with self._refusing():
            model = core.read_model(data)
            wanted = [one.node for one in model.outputs if self._output in one.get_names()]
            return ov.Model(wanted, model.get_parameters(), self._role)

    def _compile(self, model: Any, threads: int) -> Any:  # noqa: ANN401
        with self._refusing():
            compiled = _core().compile_model(model, "CPU", _config(threads))
            kind = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        if kind != "bf16":
            raise BackendError(f"OpenVINO computes {kind} on this processor, not bf16")
        return compiled

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        try:
            yield
        except ERRORS as error:
            raise BundleError(
                f"{self._name}: OpenVINO refuses the {self._role} graph: {_reason(error)}"
            ) from error

    def _request(self) -> Any:  # noqa: ANN401
        if self._compiled is None:
            self._begin()
        return self._free.pop() if self._free else self._compiled.create_infer_request()

    def _infer(self, request: Any, image: FloatArray, cancellation: Cancellation | None) -> None:  # noqa: ANN401
        try:
            if cancellation is None:
                request.infer({0: image}, **SHARED)
            else:
                with cancellation.watched(request.cancel):
                    request.infer({0: image}, **SHARED)
        except ERRORS as error:
            # Left in the middle, it fails in later calls: half its layers keep this image's size.
            self._compiled = None
            if cancellation is not None:
                cancellation.check()
            raise ImageError(
                f"OpenVINO fails in the {self._role} graph, out of memory or unfit for this "
                f"image: {_reason(error)}; try a smaller image or scale"
            ) from error


def openvino() -> Any:  # noqa: ANN401
    """Imports OpenVINO without its telemetry: the import of a package that it brings writes into
    the home folder and reports that to a server.

    Raises:
        BackendError: it is not installed, or does not load.
    """
    if sys.modules.get("openvino") is not None:
        return sys.modules["openvino"]
    before = sys.modules.get(TELEMETRY)
    sys.modules[TELEMETRY] = None  # type: ignore[assignment]
    try:
        return import_module("openvino")
    except ModuleNotFoundError as missing:
        raise BackendError(
            f"{missing.name} is not installed; run pip install 'pcsr[openvino]'"
        ) from missing
    except (ImportError, OSError) as broken:
        raise BackendError(f"OpenVINO is installed but does not load: {broken}") from broken
    finally:
        sys.modules.pop(TELEMETRY)
        if before is not None:
            sys.modules[TELEMETRY] = before


def is_forked() -> bool:
    """Tells whether OpenVINO runs in a process that this one was forked from, and not here: its
    locks may be held by threads that are not here. 3 of 40 such children waited for ever.
    """
    return bool(_loaded.get("process", os.getpid()) != os.getpid())


def _core() -> Any:  # noqa: ANN401
    """Gives OpenVINO's core, one for the process."""
    if is_forked():
        raise BackendError(
            "OpenVINO does not run in a process that was forked from one that runs it; start "
            "processes with spawn, or open the bundle after the fork alone"
        )
    if "core" not in _loaded:
        _loaded.update(core=openvino().Core(), process=os.getpid())
    return _loaded["core"]


def _config(threads: int) -> dict[str, Any]:
    return {
        "INFERENCE_PRECISION_HINT": "bf16",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,  # the passes' threads need the same cores
    }


def _give_back(free: list[Any], request: Any) -> None:  # noqa: ANN401
    if len(free) < KEPT_REQUESTS:
        free.append(request)


def _reason(error: Exception) -> str:
    """Gives the last line that says something: those before name places in OpenVINO's source."""
    lines = [one_line(line) for line in str(error).splitlines()]
    said = [line for line in lines if line and not line.startswith("Exception from")]
    return said[-1] if said else type(error).__name__
