"""KServe's protocol, version 2, by plain HTTP: a client of a model server in the standard library.

Images and files travel in the binary extension: a header in JSON, then the bytes of all tensors in
its order.
"""

import http.client
import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

DATATYPES = {"uint8": "UINT8", "uint16": "UINT16", "float32": "FP32", "float64": "FP64"}
DTYPES = {datatype: dtype for dtype, datatype in DATATYPES.items()}
HEADER_LENGTH = "Inference-Header-Content-Length"


class ServerError(Exception):
    """The server's answer to a request that it does not take: its status and its sentence."""


def infer(
    address: str, model: str, inputs: Mapping[str, Any], outputs: Sequence[str]
) -> dict[str, Any]:
    """Asks for the outputs of a model.

    Args:
        address: host and port.
        model: its name.
        inputs: arrays by name; bytes, texts and numbers become tensors [1].
        outputs: names.

    Returns:
        Arrays by name; of BYTES tensors the first element.

    Raises:
        ServerError: the server says what is wrong.
    """
    tensors = {name: _tensor(value) for name, value in inputs.items()}
    head = {
        "inputs": [{"name": name, **describing} for name, (describing, _) in tensors.items()],
        "outputs": [{"name": name, "parameters": {"binary_data": True}} for name in outputs],
    }
    header = json.dumps(head).encode()
    body = header + b"".join(data for _, data in tensors.values())
    connection = http.client.HTTPConnection(address, timeout=120)
    try:
        path = f"/v2/models/{model}/infer"
        connection.request("POST", path, body, {HEADER_LENGTH: str(len(header))})
        response = connection.getresponse()
        answer = response.read()
        if response.status != 200:
            raise ServerError(f"{response.status}: {json.loads(answer)['error']}")
        length = int(response.headers[HEADER_LENGTH])
    finally:
        connection.close()
    return _unpacked(json.loads(answer[:length])["outputs"], memoryview(answer)[length:])


def _tensor(value: Any) -> tuple[dict[str, Any], bytes]:  # noqa: ANN401
    """Gives the description and the bytes of a tensor."""
    if isinstance(value, (bytes, str)):
        text = value.encode() if isinstance(value, str) else value
        datatype, shape, data = "BYTES", [1], struct.pack("<I", len(text)) + text
    else:
        array = np.asarray(value, dtype=np.float64) if np.isscalar(value) else value
        shape = list(array.shape) or [1]
        datatype, data = DATATYPES[array.dtype.name], array.tobytes()
    describing = {"datatype": datatype, "shape": shape}
    return {**describing, "parameters": {"binary_data_size": len(data)}}, data


def _unpacked(described: Sequence[Mapping[str, Any]], data: memoryview) -> dict[str, Any]:
    found: dict[str, Any] = {}
    start = 0
    for one in described:
        size = one["parameters"]["binary_data_size"]
        part = data[start : start + size]
        start += size
        if one["datatype"] == "BYTES":
            found[one["name"]] = bytes(part[4 : 4 + struct.unpack("<I", part[:4])[0]])
        else:
            array = np.frombuffer(part, DTYPES[one["datatype"]])
            found[one["name"]] = array.reshape(one["shape"])
    return found
