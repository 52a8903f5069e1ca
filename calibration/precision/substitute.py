"""Runs a bundle's pipeline with another image graph in it: what a candidate makes of an image."""

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from pcsr.bundle import Bundle
from pcsr.errors import BackendError
from pcsr.metrics import Pixels
from pcsr.runtime.backends import choose_backend
from pcsr.runtime.cpu.open import open_runner
from pcsr.runtime.cpu.pipeline import FloatArray, Runner
from pcsr.runtime.cpu.upscaler import HostUpscaler
from pcsr.runtime.onnxruntime_session import provider_of, run_options, start_session
from pcsr.runtime.process.cancellation import Cancellation
from pcsr.runtime.result import Result
from pcsr.runtime.routing.request import RoutingRequest


class SessionRunner:
    """Runs an image graph that is in no bundle, in ONNX Runtime."""

    def __init__(self, session: Any) -> None:  # noqa: ANN401
        self._session = session

    def run_image(
        self,
        _role: str,
        image: FloatArray,
        outputs: Sequence[str],
        _cancellation: Cancellation | None = None,
    ) -> list[FloatArray]:
        found: list[FloatArray] = self._session.run(list(outputs), {"image": image}, run_options())
        return found

    def run_rows(self, role: str, _inputs: dict[str, NDArray[Any]]) -> FloatArray:
        raise BackendError(f"only the image graph runs here, not the {role}")


class SubstitutePipeline:
    """Upscales as `Upscaler` does on the CPU, with the image graph that each call names. It is the
    runner of its own upscaler.
    """

    def __init__(self, bundle: Bundle, scale: float, request: RoutingRequest, threads: int) -> None:
        self.scale, self.threads, self._request = scale, threads, request
        self._graph: Runner | None = None
        self._seen: dict[bytes, FloatArray] = {}
        self.backend = choose_backend("auto", "cpu", "fp32", bundle)
        self._runner = open_runner(self.backend, bundle, "fp32", threads)
        self.run_rows = self._runner.run_rows
        self._upscale = HostUpscaler(bundle, self.backend, "fp32", threads, None, self)

    def run(self, lr: Pixels, graph: Runner | None = None) -> Result:
        """Upscales an image. graph: runs the image graph; None is the fp32 graph of the bundle."""
        self._graph = graph
        return self._upscale(lr, self.scale, self._request)

    def inputs(self, lr: Pixels) -> list[FloatArray]:
        """Lists what the image graph is given for an image, [1, 3, h, w]: all tiles, each once."""
        self._seen.clear()
        self.run(lr)
        return list(self._seen.values())

    def run_image(
        self,
        role: str,
        image: FloatArray,
        outputs: Sequence[str],
        cancellation: Cancellation | None = None,
    ) -> list[FloatArray]:
        """Runs the image graph, or the one in its place."""
        if self._graph is None:
            self._seen.setdefault(image.tobytes(), image)
        return (self._graph or self._runner).run_image(role, image, outputs, cancellation)


def open_graph(model: bytes, threads: int) -> Any:  # noqa: ANN401
    """Opens a session on the CPU, as the runtime does."""
    return start_session(model, threads, provider_of("cpu"))
