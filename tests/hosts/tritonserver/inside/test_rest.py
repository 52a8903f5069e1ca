"""KServe v2 by plain HTTP, as curl speaks it, with nothing of NVIDIA's on the client's side."""

import json
import struct

import numpy as np
import pytest

from pcsr import Upscaler

from .client import pixels_of
from .serving import Serving, error_of

INFER = "/v2/models/two/infer"


def test_an_image_in_json(server: Serving, upscalers: dict[str, Upscaler]) -> None:
    image = pixels_of((5, 7))
    body = {
        "inputs": [
            {"name": "IMAGE", "datatype": "UINT8", "shape": [5, 7, 3], "data": image.tolist()},
            {"name": "K", "datatype": "FP64", "shape": [1], "data": [0.5]},
        ],
        "outputs": [{"name": "RESULT"}, {"name": "HEAVY_SHARE"}],
    }
    status, _, answer = server.post(INFER, json.dumps(body).encode())
    assert status == 200, answer
    outputs = {one["name"]: one for one in json.loads(answer)["outputs"]}
    expected = upscalers["two"](image, k=0.5)
    assert outputs["RESULT"]["shape"] == [20, 28, 3]
    assert outputs["RESULT"]["data"] == expected.image.ravel().tolist()
    assert outputs["HEAVY_SHARE"]["data"] == [expected.stats.heavy_share]


def test_an_image_in_the_binary_extension(server: Serving, upscalers: dict[str, Upscaler]) -> None:
    image = pixels_of((50, 70), channels=4)
    head = json.dumps(
        {
            "inputs": [
                {
                    "name": "IMAGE",
                    "datatype": "UINT8",
                    "shape": [50, 70, 4],
                    "parameters": {"binary_data_size": image.nbytes},
                },
                {"name": "SCALE", "datatype": "FP64", "shape": [1], "data": [2.5]},
            ],
            "outputs": [{"name": "RESULT", "parameters": {"binary_data": True}}],
        }
    ).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    status, given, answer = server.post(INFER, head + image.tobytes(), headers)
    assert status == 200, answer
    length = int(given["Inference-Header-Content-Length"])
    (output,) = json.loads(answer[:length])["outputs"]
    found = np.frombuffer(answer[length:], np.uint8).reshape(output["shape"])
    assert np.array_equal(found, upscalers["two"](image, 2.5).image)


def test_a_file_in_and_out(server: Serving, upscalers: dict[str, Upscaler]) -> None:
    """A BYTES element travels with its length before it: four bytes, little-endian."""
    import io

    from PIL import Image

    image = pixels_of((30, 40))
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    data = struct.pack("<I", len(buffer.getvalue())) + buffer.getvalue()
    head = json.dumps(
        {
            "inputs": [
                {
                    "name": "ENCODED",
                    "datatype": "BYTES",
                    "shape": [1],
                    "parameters": {"binary_data_size": len(data)},
                },
                {"name": "OUTPUT_FORMAT", "datatype": "BYTES", "shape": [1], "data": ["png"]},
            ],
            "outputs": [{"name": "RESULT_ENCODED", "parameters": {"binary_data": True}}],
        }
    ).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    status, given, answer = server.post(INFER, head + data, headers)
    assert status == 200, answer
    rest = answer[int(given["Inference-Header-Content-Length"]) :]
    (length,) = struct.unpack("<I", rest[:4])
    assert length == len(rest) - 4
    found = np.asarray(Image.open(io.BytesIO(rest[4:])))
    assert np.array_equal(found, upscalers["two"](image).image)


@pytest.mark.parametrize(
    "path", ["/v2/health/live", "/v2/health/ready", "/v2/models/two/ready", "/v2", "/v2/models/two"]
)
def test_health_and_metadata(server: Serving, path: str) -> None:
    assert server.get(path)[0] == 200


def test_the_inputs_are_described(server: Serving) -> None:
    found = json.loads(server.get("/v2/models/three")[2])
    inputs = {one["name"]: (one["datatype"], one["shape"]) for one in found["inputs"]}
    assert inputs["IMAGE"] == ("UINT8", [-1, -1, -1])
    assert inputs["ENCODED"] == ("BYTES", [1])
    assert inputs["SCALE"] == ("FP64", [1])
    outputs = {one["name"]: (one["datatype"], one["shape"]) for one in found["outputs"]}
    assert outputs["RESULT"] == ("UINT8", [-1, -1, -1])
    assert outputs["ROUTING"] == ("UINT8", [-1, -1])


def test_a_model_that_is_not_there(server: Serving) -> None:
    status, _, answer = server.post("/v2/models/carn/infer", b'{"inputs": []}')
    assert status == 404 or status == 400
    assert "carn" in error_of(answer)
