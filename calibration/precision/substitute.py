"""Runs a bundle's pipeline with another image graph in it: what a candidate makes of an image."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcsr.bundle import Bundle
from pcsr.metrics import Pixels
from pcsr.runtime.cpu.open import open_pipeline, open_runner
from pcsr.runtime.cpu.output import ArrayOutput
from pcsr.runtime.cpu.pipeline import FloatArray, Runner, Task
from pcsr.runtime.cpu.workers import Workers
from pcsr.runtime.geometry.grid import hr_size
from pcsr.runtime.layout import Layout
from pcsr.runtime.onnxruntime_session import SETTINGS, provider_of, run_options, start_session
from pcsr.runtime.routing.request import RoutingRequest
from pcsr.runtime.timing import Stopwatch

# The arithmetic of a Q/DQ graph as it is written, rather than fused for the CPU.
AS_WRITTEN = {**SETTINGS, "session.disable_quant_qdq": "1"}


@dataclass(frozen=True)
class PipelineSettings:
    """Says how images are upscaled while candidates are compared."""

    scale: float
    request: RoutingRequest
    threads: int


@dataclass(frozen=True)
class UpscaledImage:
    """Holds an upscaled image and who computed its pixels."""

    image: Pixels
    """[H,W,3] uint8."""
    assignment: NDArray[np.uint8]
    """[H,W]; zeros in that of a plain network."""


class SubstitutePipeline:
    """Upscales as `Upscaler` does on the CPU, with the image graph that each call names."""

    def __init__(self, bundle: Bundle, setting: PipelineSettings) -> None:
        self._setting, self._plain = setting, bundle.kind == "plain"
        native = find_spec("pcsr.runtime.cpu._pixels") is not None
        name = "native" if native else "onnxruntime"
        engine = open_runner(name, bundle, "fp32", setting.threads)
        self._backend = _SubstituteRunner(engine)
        workers = Workers(setting.threads)
        self._pipeline = open_pipeline(bundle, self._backend, workers, native, None)

    def run(self, lr: Pixels, graph: Any = None) -> UpscaledImage:  # noqa: ANN401
        """Upscales an image. graph: a session; None runs the fp32 graph of the bundle."""
        self._backend.session = graph
        layout, setting = Layout.of(lr), self._setting
        output = ArrayOutput(hr_size(lr.shape[:2], setting.scale), lr.dtype)

        def rows(first: int, stop: int) -> FloatArray:
            return layout.to_network(lr[first:stop])

        task = Task(lr.shape[:2], rows, setting.scale, setting.request)
        self._pipeline.run(task, output, Stopwatch())
        whole = output.whole
        assignment = np.zeros_like(whole.assignment) if self._plain else whole.assignment
        return UpscaledImage(whole.pixels, assignment)

    def inputs(self, lr: Pixels) -> list[FloatArray]:
        """Lists what the image graph is given for an image, [1, 3, h, w]: all tiles, each once."""
        self._backend.seen.clear()
        self.run(lr)
        return list(self._backend.seen.values())


@dataclass
class _SubstituteRunner:
    """Runs all graphs of the bundle but the image graph."""

    backend: Runner
    session: Any = None
    seen: dict[bytes, FloatArray] = field(default_factory=dict)

    def run_image(self, role: str, image: FloatArray, outputs: Sequence[str]) -> list[FloatArray]:
        if self.session is None:
            self.seen.setdefault(image.tobytes(), image)
            return self.backend.run_image(role, image, outputs)
        found: list[FloatArray] = self.session.run(list(outputs), {"image": image}, run_options())
        return found

    def run_rows(self, role: str, inputs: dict[str, NDArray[Any]]) -> FloatArray:
        return self.backend.run_rows(role, inputs)


def open_graph(model: bytes, threads: int, settings: Mapping[str, str] = SETTINGS) -> Any:  # noqa: ANN401
    """Opens a session on the CPU, as the runtime does."""
    return start_session(model, threads, provider_of("cpu"), settings)
