"""Requests that are wrong get an error of their own, and the server serves on."""

import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tritonclient.utils import InferenceServerException

from pcsr import Upscaler

from .client import Client, pixels_of, sent
from .serving import Serving, error_of

Inputs = dict[str, Any]
IMAGE = pixels_of((9, 11))


def png(size: tuple[int, int] = (9, 11)) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels_of(size)).save(buffer, "PNG")
    return buffer.getvalue()


def bomb() -> bytes:
    """A file of a few hundred bytes that says it has 900 million pixels."""
    head = png()
    width = (30000).to_bytes(4, "big")
    return head[:16] + width + width + head[24:]


def of_type(dtype: str, name: str) -> Inputs:
    return {name: pixels_of((9, 11), dtype)}


NAN = np.full((3, 3, 3), np.nan, dtype=np.float32)
BAD: dict[str, tuple[Inputs, str]] = {
    "no image": ({}, "expected exactly one of IMAGE"),
    "two images": ({**sent(IMAGE), "ENCODED": png()}, "expected exactly one of IMAGE"),
    "two kinds of pixels": ({**sent(IMAGE), **of_type("uint16", "IMAGE_UINT16")}, "exactly one"),
    "six channels": (sent(pixels_of((4, 4), channels=6)), "channels"),
    "five channels": (sent(pixels_of((4, 4), channels=5)), "channels"),
    "no channels": (sent(np.zeros((4, 4, 0), np.uint8)), ""),
    "no rows": (sent(np.zeros((0, 4, 3), np.uint8)), ""),
    "two axes": (sent(IMAGE[..., 0]), "shape"),
    "four axes": (sent(IMAGE[None]), "shape"),
    "another type": ({"IMAGE": IMAGE.astype(np.uint16)}, "UINT8"),
    "not a number": (sent(NAN), "NaN"),
    "infinite": (sent(np.full((3, 3, 3), np.inf, np.float32)), ""),
    "far out of range": (sent(np.full((3, 3, 3), 255.0, np.float32)), ""),
    "too many pixels": (sent(np.zeros((4097, 4096, 3), np.uint8)), "at most 16777216 pixels"),
    "empty file": ({"ENCODED": b""}, ""),
    "text": ({"ENCODED": b"hello"}, ""),
    "zeros": ({"ENCODED": bytes(1000)}, ""),
    "a PDF": ({"ENCODED": b"%PDF-1.7\n" + bytes(200)}, ""),
    "an SVG": ({"ENCODED": b"<svg xmlns='http://www.w3.org/2000/svg'/>"}, ""),
    "half a PNG": ({"ENCODED": png((60, 60))[:900]}, ""),
    "a PNG with a flipped byte": ({"ENCODED": png()[:60] + b"\xff" + png()[61:]}, ""),
    "a JPEG's first bytes": ({"ENCODED": b"\xff\xd8\xff\xe0" + bytes(50)}, ""),
    "a bomb": ({"ENCODED": bomb()}, "pixels"),
    "two files": ({"ENCODED": np.array([png(), png()], dtype=np.object_)}, "shape"),
    "scale 0": (sent(IMAGE, scale=0.0), "scale"),
    "scale below 1": (sent(IMAGE, scale=-4.0), "scale"),
    "scale NaN": (sent(IMAGE, scale=float("nan")), "scale"),
    "scale too large": (sent(IMAGE, scale=1e9), ""),
    "scale of another type": ({**sent(IMAGE), "SCALE": np.ones(1, np.float32)}, "FP64"),
    "two scales": ({**sent(IMAGE), "SCALE": np.full(2, 4.0)}, "shape"),
    "k NaN": (sent(IMAGE, k=float("nan")), "k must"),
    "k too large": (sent(IMAGE, k=1e12), "k must"),
    "k as text": (sent(IMAGE, k="large"), "FP64"),
    "ratio above 1": (sent(IMAGE, heavy_ratio=1.5), "heavy_ratio"),
    "ratio below 0": (sent(IMAGE, heavy_ratio=-0.1), "heavy_ratio"),
    "k and a ratio": (sent(IMAGE, k=1.0, heavy_ratio=0.5), ""),
    "ratio and ADM": (sent(IMAGE, heavy_ratio=0.5, adaptive=True), ""),
    "a preset without calibration": (sent(IMAGE, preset="fast"), "calibrat"),
    "a budget without calibration": (sent(IMAGE, budget_ms=5.0), "calibrat"),
    "a negative budget": (sent(IMAGE, budget_ms=-5.0), "budget_ms"),
    "a loss without calibration": (sent(IMAGE, max_psnr_loss_db=0.1), "calibrat"),
    "preset not in UTF-8": (sent(IMAGE, preset=b"\xff\xfe"), "PRESET"),
    "unknown format": (sent(IMAGE, output_format="bmp"), "OUTPUT_FORMAT"),
    "a format with a path": (sent(IMAGE, output_format="../../x.png"), "OUTPUT_FORMAT"),
    "quality 0": (sent(IMAGE, output_format="jpeg", quality=0), "QUALITY"),
    "quality 101": (sent(IMAGE, output_format="jpeg", quality=101), "QUALITY"),
    "quality without a format": (sent(IMAGE, quality=50), "QUALITY"),
    "transparency in a JPEG": (sent(pixels_of((4, 4), channels=4), output_format="jpeg"), ""),
    "no time": (sent(IMAGE, timeout_ms=0.0), "TIMEOUT_MS"),
    "negative time": (sent(IMAGE, timeout_ms=-1.0), "TIMEOUT_MS"),
    "an unknown input": ({**sent(IMAGE), "SHARPEN": np.ones(1)}, "SHARPEN"),
}
BODIES: dict[str, bytes] = {
    "nothing": b"",
    "no JSON": b"hello",
    "half of JSON": b'{"inputs": [',
    "a list": b"[]",
    "no inputs": b"{}",
    "too few pixels": json.dumps(
        {"inputs": [{"name": "IMAGE", "datatype": "UINT8", "shape": [9, 9, 3], "data": [1, 2]}]}
    ).encode(),
    "negative shape": json.dumps(
        {"inputs": [{"name": "IMAGE", "datatype": "UINT8", "shape": [-9, 9, 3], "data": [1]}]}
    ).encode(),
    "unknown type": json.dumps(
        {"inputs": [{"name": "IMAGE", "datatype": "UINT9", "shape": [1, 1, 1], "data": [1]}]}
    ).encode(),
}


@pytest.fixture
def still_served(client: Client, upscalers: dict[str, Upscaler]) -> Callable[[], None]:
    def check() -> None:
        assert np.array_equal(client("two", sent(IMAGE))["RESULT"], upscalers["two"](IMAGE).image)

    return check


def test_bad_requests(client: Client, still_served: Callable[[], None]) -> None:
    """All of them one after the other: each gets a sentence of its own, in one line."""
    assert len(BAD) >= 50
    wrong = {}
    for name, (inputs, part) in BAD.items():
        try:
            answer = client("two", inputs)
        except InferenceServerException as error:
            text = error.message() or ""
            if part not in text or "\n" in text or "Traceback" in text or len(text) < 15:
                wrong[name] = text
        else:
            wrong[name] = f"was answered with {[*answer]}"
    assert wrong == {}
    still_served()


def test_bad_outputs(client: Client, still_served: Callable[[], None]) -> None:
    for outputs, part in (
        (["NOISE"], "NOISE"),
        (["RESULT_FP32"], "RESULT"),
        (["RESULT", "RESULT_UINT16", "NOISE"], "NOISE"),
    ):
        with pytest.raises(InferenceServerException, match=part):
            client("two", sent(IMAGE), outputs)
    with pytest.raises(InferenceServerException, match="plain network, without routing"):
        client("plain", sent(IMAGE), ["ROUTING"])
    still_served()


def test_parameters_are_no_options(client: Client) -> None:
    with pytest.raises(InferenceServerException, match="unknown request parameter 'scale'"):
        client("two", sent(IMAGE), parameters={"scale": 2})


@pytest.mark.parametrize("name", list(BODIES))
def test_bad_bodies(server: Serving, name: str) -> None:
    """The server's own HTTP front end refuses them, with 400 or 500."""
    status, _, answer = server.post("/v2/models/two/infer", BODIES[name])
    assert status in (400, 500)
    assert error_of(answer)
    assert server.is_ready()


def test_clients_do_not_learn_the_servers_paths(
    client: Client, server: Serving, bundles: dict[str, str]
) -> None:
    """What is wrong is said without the names of folders."""
    for inputs in (sent(IMAGE, preset="fast"), sent(IMAGE, budget_ms=5.0), {"ENCODED": b"x" * 99}):
        with pytest.raises(InferenceServerException) as caught:
            client("two", inputs)
        assert "/" not in str(caught.value.message()).replace("pcsr-calibrate", "")
    assert str(server.models) not in str(caught.value)
