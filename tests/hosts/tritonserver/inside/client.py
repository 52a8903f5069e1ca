"""Requests by NVIDIA's clients, with plain arrays in and out."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tritonclient.grpc
import tritonclient.http
from numpy.typing import NDArray

Array = NDArray[Any]
TYPES = {
    "uint8": "UINT8",
    "uint16": "UINT16",
    "float32": "FP32",
    "float64": "FP64",
    "bool": "BOOL",
    "int32": "INT32",
    "object": "BYTES",
}
PIXELS = {"uint8": "", "uint16": "_UINT16", "float32": "_FP32"}
CLIENTS = {"http": tritonclient.http, "grpc": tritonclient.grpc}


class Client:
    """Asks one server, by HTTP or gRPC."""

    def __init__(self, kind: str, port: int) -> None:
        self.module: Any = CLIENTS[kind]
        more = {"concurrency": 8, "network_timeout": 60.0} if kind == "http" else {}
        self.client = self.module.InferenceServerClient(f"127.0.0.1:{port}", **more)

    def __call__(
        self,
        model: str,
        inputs: Mapping[str, Any],
        outputs: Sequence[str] = (),
        **options: Any,  # noqa: ANN401
    ) -> dict[str, Any]:
        """Sends a request; gives the outputs that came: arrays, and plain values of those [1]."""
        done = self.client.infer(
            model, self.inputs(inputs), outputs=self.outputs(outputs), **options
        )
        return unpacked(done)

    def inputs(self, values: Mapping[str, Any]) -> list[Any]:
        """Makes the inputs of a request."""
        made = []
        for name, value in values.items():
            array = as_array(value)
            tensor = self.module.InferInput(name, list(array.shape), TYPES[array.dtype.name])
            tensor.set_data_from_numpy(array)
            made.append(tensor)
        return made

    def outputs(self, names: Sequence[str]) -> list[Any] | None:
        """Names the outputs that are wanted; None for those that come unasked."""
        return [self.module.InferRequestedOutput(name) for name in names] or None

    def close(self) -> None:
        """Ends its connections: a server that ends waits for those of HTTP."""
        self.client.close()


def unpacked(done: Any) -> dict[str, Any]:  # noqa: ANN401
    """Gives the outputs of a response by their names."""
    response = done.get_response()
    outputs = response["outputs"] if isinstance(response, dict) else response.outputs
    names = [one["name"] if isinstance(one, dict) else one.name for one in outputs]
    arrays = {name: done.as_numpy(name) for name in names}
    return {n: array.item() if array.shape == (1,) else array for n, array in arrays.items()}


def as_array(value: Any) -> Array:  # noqa: ANN401
    """Makes the tensor [1] of a plain value; an array is taken as it is."""
    if isinstance(value, np.ndarray):
        return value
    if isinstance(value, (str, bytes)):
        data = value.encode() if isinstance(value, str) else value
        return np.array([data], dtype=np.object_)
    kinds: dict[type, Any] = {bool: np.bool_, int: np.int32, float: np.float64}
    return np.array([value], dtype=kinds[type(value)])


def pixels_of(
    size: tuple[int, int], dtype: str = "uint8", channels: int = 3, seed: int = 0
) -> Array:
    """Makes a smooth picture [h, w, channels] with some noise."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[: size[0], : size[1]]
    waves = [np.sin(rows / (3 + c) + columns / (5 + c) + seed) for c in range(channels)]
    image = np.stack(waves, axis=2) * 0.4 + 0.5 + random.uniform(-0.1, 0.1, (*size, channels))
    if dtype == "float32":
        return image.astype(np.float32)
    return (image * np.iinfo(dtype).max).astype(dtype)


def sent(image: Array, **options: Any) -> dict[str, Any]:  # noqa: ANN401
    """The inputs of a request: the image by its type, options by their names in small letters."""
    return {
        f"IMAGE{PIXELS[image.dtype.name]}": image,
        **{name.upper(): value for name, value in options.items()},
    }
