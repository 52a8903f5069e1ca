"""A stand-in for what the server's Python backend gives a model: requests, senders, and
`triton_python_backend_utils`. The tests in `inside` run the same with the server itself.
"""

import json
import queue
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from pcsr.tritonserver import Model
from pcsr.tritonserver.model.contract import OUTPUTS
from pcsr.tritonserver.model.settings import Settings

WAIT_S = 60
ALL = tuple(tensor.name for tensor in OUTPUTS)


class Tensor:
    """A tensor on the host, or one of which only DLPack tells anything."""

    def __init__(self, name: str, array: Any, is_cpu: bool = True) -> None:  # noqa: ANN401
        self._name, self._array, self._is_cpu = name, array, is_cpu

    @classmethod
    def from_dlpack(cls, name: str, array: Any) -> "Tensor":  # noqa: ANN401
        return cls(name, array, is_cpu=False)

    def name(self) -> str:
        return self._name

    def shape(self) -> list[int]:
        return list(self._array.shape)

    def is_cpu(self) -> bool:
        return self._is_cpu

    def as_numpy(self) -> Any:  # noqa: ANN401
        assert self._is_cpu, "the server refuses that for a tensor on a GPU"
        return self._array

    def to_dlpack(self) -> Any:  # noqa: ANN401
        return self._array.__dlpack__()

    @property
    def array(self) -> Any:  # noqa: ANN401
        """What it holds, wherever that is."""
        return self._array


class TritonError(Exception):
    INVALID_ARG, UNAVAILABLE, INTERNAL = "INVALID_ARG", "UNAVAILABLE", "INTERNAL"
    CANCELLED = "CANCELLED"

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.message, self.code = message, code


class TritonModelException(Exception):
    """The name that the server gives it."""


@dataclass
class Response:
    output_tensors: Sequence[Tensor]
    error: TritonError | None = None


class Sender:
    """Keeps what a model answers."""

    def __init__(self) -> None:
        self._sent: queue.Queue[Response] = queue.Queue()
        self.cancelled = False

    def send(self, response: Response, flags: int) -> None:
        assert flags == 1, "only a final response ends a request"
        assert self._sent.empty(), "a request is answered once"
        self._sent.put(response)

    def is_cancelled(self) -> bool:
        return self.cancelled

    def response(self) -> Response:
        """Waits for the answer."""
        return self._sent.get(timeout=WAIT_S)


@dataclass
class Request:
    given: Sequence[Tensor]
    names: Sequence[str]
    given_parameters: Mapping[str, str] = field(default_factory=dict)
    timeout_us: int = 0
    sender: Sender = field(default_factory=Sender)

    def inputs(self) -> Sequence[Tensor]:
        return self.given

    def requested_output_names(self) -> Sequence[str]:
        return self.names

    def parameters(self) -> str:
        return json.dumps(self.given_parameters)

    def timeout(self) -> int:
        return self.timeout_us

    def get_response_sender(self) -> Sender:
        return self.sender


class Logger:
    """Keeps what a model logs."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def log_info(self, text: str) -> None:
        self.lines.append(("info", text))

    def log_warn(self, text: str) -> None:
        self.lines.append(("warn", text))

    def log_error(self, text: str) -> None:
        self.lines.append(("error", text))


class Metrics:
    """Keeps what a model counts, by the metric's name and the labels that not all have."""

    COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"
    COMMON = frozenset({"model", "version", "device"})

    def __init__(self, refuses: bool = False) -> None:
        self.values: dict[tuple[str, ...], float] = {}
        self._refuses = refuses

    def __call__(self, name: str, description: str, kind: str) -> Any:  # noqa: ANN401
        if self._refuses:
            raise TritonModelException("metrics are not there")
        return SimpleNamespace(Metric=lambda **how: self._metric(name, **how))

    def _metric(self, name: str, labels: Mapping[str, str], buckets: Any = None) -> Any:  # noqa: ANN401
        key = (name, *(value for label, value in labels.items() if label not in self.COMMON))
        self.values[key] = 0

        def add(value: float) -> None:
            before = self.values[key]
            time.sleep(0)  # as the server's, it is not for two threads at once
            self.values[key] = before + value

        def put(value: float) -> None:
            self.values[key] = value

        return SimpleNamespace(increment=add, observe=add, set=put)


def utils(refuses_metrics: bool = False) -> Any:  # noqa: ANN401
    """Makes a `triton_python_backend_utils`."""
    return SimpleNamespace(
        Tensor=Tensor,
        InferenceResponse=Response,
        TritonError=TritonError,
        TritonModelException=TritonModelException,
        Logger=Logger(),
        MetricFamily=Metrics(refuses_metrics),
        TRITONSERVER_RESPONSE_COMPLETE_FINAL=1,
    )


class Loaded:
    """A model that the server has loaded, and its clients' way to it."""

    def __init__(self, model: Model, module: Any) -> None:  # noqa: ANN401
        self.model, self.utils = model, module
        self.metrics: Metrics = module.MetricFamily
        self.log: Logger = module.Logger

    def send(self, inputs: Mapping[str, Any], *outputs: str, **more: Any) -> Sender:  # noqa: ANN401
        """Sends a request; without outputs it names none, which the server makes all of them."""
        tensors = [_tensor(name, value) for name, value in inputs.items()]
        request = Request(tensors, outputs or ALL, **more)
        self.model.execute([request])
        return request.sender

    def answer(
        self,
        inputs: Mapping[str, Any],
        *outputs: str,
        **more: Any,  # noqa: ANN401
    ) -> dict[str, Any]:
        """Sends a request and gives the arrays of its answer, by name."""
        response = self.send(inputs, *outputs, **more).response()
        assert response.error is None, response.error
        return {tensor.name(): tensor.array for tensor in response.output_tensors}

    def refusal(
        self,
        inputs: Mapping[str, Any],
        *outputs: str,
        **more: Any,  # noqa: ANN401
    ) -> tuple[str, str]:
        """Sends a request and gives the code and the text of its error."""
        error = self.send(inputs, *outputs, **more).response().error
        assert error is not None
        return error.code, error.message


def load(
    bundle: Path,
    folder: Path,
    module: Any = None,  # noqa: ANN401
    kind: str = "CPU",
    **settings: Any,  # noqa: ANN401
) -> Loaded:
    """Loads a bundle as the server loads a model. kind: of the instance, CPU or GPU."""
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "bundle").symlink_to(bundle)
    module = module or utils()
    model = type("TritonPythonModel", (Model,), {"utils": module})()
    model.initialize(arguments(folder, Settings.of_options(settings).parameters, kind))
    return Loaded(model, module)


def arguments(folder: Path, parameters: Mapping[str, str], kind: str = "CPU") -> dict[str, str]:
    """Makes what the server tells a model that lies in a folder."""
    texts = {name: {"string_value": value} for name, value in parameters.items()}
    return {
        "model_config": json.dumps({"parameters": texts}),
        "model_repository": str(folder),
        "model_version": "1",
        "model_name": folder.name,
        "model_instance_name": f"{folder.name}_0_0",
        "model_instance_kind": kind,
        "model_instance_device_id": "0",
    }


def _tensor(name: str, value: Any) -> Tensor:  # noqa: ANN401
    if isinstance(value, Tensor):
        return value
    if isinstance(value, bytes):
        value = np.array([value], dtype=np.object_)
    elif isinstance(value, int | float):  # bool, too
        value = np.array([value], np.int32 if name == "QUALITY" else None)
        value = value.astype(np.float64) if value.dtype == np.int64 else value
    return Tensor(name, value)
