"""What the server sends is what `Upscaler` computes, bit for bit, by HTTP and gRPC."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.utils.shared_memory as shared_memory
from PIL import Image

from benchmarks.serving.callers import unregister
from pcsr import Upscaler

from .client import PIXELS, Array, Client, pixels_of, sent, unpacked

Upscalers = dict[str, Upscaler]
RESULTS = {dtype: f"RESULT{end}" for dtype, end in PIXELS.items()}
FORMATS = {"png": "PNG", "webp": "WEBP", "tiff": "TIFF", "jpeg": "JPEG"}
SIZE = (23, 37)


def file_of(image: Array, kind: str = "PNG") -> bytes:
    """A file with that picture."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, lossless=True)
    return buffer.getvalue()


def opened(data: bytes) -> Array:
    return np.asarray(Image.open(io.BytesIO(data)))


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("dtype", list(PIXELS))
def test_pixels_are_those_of_upscaler(
    client: Client, upscalers: Upscalers, dtype: str, channels: int
) -> None:
    image = pixels_of(SIZE, dtype, channels)
    found = client("three", sent(image))
    expected = upscalers["three"](image)
    assert np.array_equal(found[RESULTS[dtype]], expected.image.reshape(92, 148, channels))
    assert found[RESULTS[dtype]].dtype == np.dtype(dtype)
    assert found["HEAVY_SHARE"] == expected.stats.heavy_share
    assert {"RESULT_ENCODED", "ROUTING", *RESULTS.values()} & found.keys() == {RESULTS[dtype]}


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (64, 3), (133, 201)], ids=str)
@pytest.mark.parametrize("model", ["two", "plain"])
def test_sizes(client: Client, upscalers: Upscalers, model: str, size: tuple[int, int]) -> None:
    image = pixels_of(size)
    assert np.array_equal(client(model, sent(image))["RESULT"], upscalers[model](image).image)


@pytest.mark.parametrize(
    "options",
    [
        {"k": 1.3},
        {"k": -2.0},
        {"scale": 2.5},
        {"scale": 3.0, "adaptive": True},
        {"adaptive": True},
        {"heavy_ratio": 0.3},
        {"preset": "fast"},
        {"budget_ms": 40.0},
        {"max_psnr_loss_db": 0.05},
        {"refine": True},
    ],
    ids=str,
)
def test_options(client: Client, upscalers: Upscalers, options: dict[str, Any]) -> None:
    image = pixels_of((40, 50))
    found = client("calibrated", sent(image, **options), ["RESULT", "ROUTING", "HEAVY_SHARE"])
    expected = upscalers["calibrated"](image, **options)
    assert np.array_equal(found["RESULT"], expected.image)
    assert expected.assignment is not None
    assert np.array_equal(found["ROUTING"], expected.assignment)
    assert found["HEAVY_SHARE"] == expected.stats.heavy_share


def test_the_threshold_is_sent_where_one_decides(client: Client, upscalers: Upscalers) -> None:
    image = pixels_of((40, 50))
    found = client("two", sent(image, heavy_ratio=0.3), ["RESULT", "THRESHOLD"])
    assert found["THRESHOLD"] == upscalers["two"](image, heavy_ratio=0.3).stats.threshold


def test_only_what_is_asked_for_is_sent(client: Client) -> None:
    image = pixels_of(SIZE)
    assert list(client("two", sent(image), ["STAGE_MS"])) == ["STAGE_MS"]
    assert client("two", sent(image)).keys() >= {"RESULT", "HEAVY_SHARE", "STAGE_MS"}


def test_times_of_stages(client: Client) -> None:
    times = json.loads(client("two", sent(pixels_of((60, 70))), ["STAGE_MS"])["STAGE_MS"])
    assert times.keys() == {"queue", "compute", "upscaler"}
    assert 0 < sum(times["upscaler"].values()) < 1.5 * times["compute"]
    encoded = {"ENCODED": file_of(pixels_of((60, 70))), "OUTPUT_FORMAT": "png"}
    times = json.loads(client("two", encoded, ["RESULT_ENCODED", "STAGE_MS"])["STAGE_MS"])
    assert times.keys() == {"queue", "decode", "compute", "encode", "upscaler"}


@pytest.mark.parametrize("kind", ["png", "webp", "tiff"])
@pytest.mark.parametrize("channels", [3, 4])
def test_encoded_in_and_out(client: Client, upscalers: Upscalers, kind: str, channels: int) -> None:
    image = pixels_of(SIZE, channels=channels)
    inputs = {"ENCODED": file_of(image, FORMATS[kind]), "OUTPUT_FORMAT": kind}
    data = client("three", inputs, ["RESULT_ENCODED"])["RESULT_ENCODED"]
    found = opened(data)
    if kind == "webp":  # written with losses
        assert Image.open(io.BytesIO(data)).format == "WEBP"
        assert found.shape == (92, 148, channels)
    else:
        assert np.array_equal(found, upscalers["three"](image).image)


def test_the_quality_of_an_encoded_image(client: Client) -> None:
    image = pixels_of((60, 70))
    sizes = []
    for quality in (30, 95):
        inputs = sent(image, output_format="jpeg", quality=quality)
        data = client("two", inputs, ["RESULT_ENCODED"])["RESULT_ENCODED"]
        assert opened(data).shape == (240, 280, 3)
        sizes.append(len(data))
    assert sizes[0] < 0.7 * sizes[1]


def test_pixels_of_an_encoded_image(client: Client, upscalers: Upscalers) -> None:
    deep = (np.arange(23 * 37, dtype=np.uint16) * 70).reshape(23, 37)
    found = client("two", {"ENCODED": file_of(deep)}, ["RESULT_UINT16"])["RESULT_UINT16"]
    assert np.array_equal(found[..., 0], upscalers["two"](deep).image)


def test_an_encoded_image_equals_pcsr_upscale(
    http: Client, bundles: dict[str, str], tmp_path: Path
) -> None:
    from pcsr import upscale_file

    image = Image.fromarray(pixels_of(SIZE, channels=4))
    image.save(tmp_path / "in.png", dpi=(72, 72))
    upscale_file(Upscaler(bundles["two"]), tmp_path / "in.png", tmp_path / "out.png")
    inputs = {"ENCODED": (tmp_path / "in.png").read_bytes(), "OUTPUT_FORMAT": "png"}
    found = http("two", inputs, ["RESULT_ENCODED"])["RESULT_ENCODED"]
    assert found == (tmp_path / "out.png").read_bytes()


def test_system_shared_memory(client: Client, upscalers: Upscalers) -> None:
    """Both images lie where client and server reach them; only their places travel."""
    image = pixels_of((50, 60))
    expected = upscalers["two"](image, k=0.7).image
    name = f"pcsr_test_{client.module.__name__.rpartition('.')[2]}"
    region = shared_memory.create_shared_memory_region(
        name, f"/{name}", image.nbytes + expected.nbytes
    )
    try:
        shared_memory.set_shared_memory_region(region, [image])
        size = image.nbytes + expected.nbytes
        client.client.register_system_shared_memory(name, f"/{name}", size)
        picture = client.module.InferInput("IMAGE", list(image.shape), "UINT8")
        picture.set_shared_memory(name, image.nbytes)
        result = client.module.InferRequestedOutput("RESULT")
        result.set_shared_memory(name, expected.nbytes, offset=image.nbytes)
        options = client.inputs({"K": 0.7})
        client.client.infer("two", [picture, *options], outputs=[result])
        found = shared_memory.get_contents_as_numpy(
            region, np.uint8, list(expected.shape), offset=image.nbytes
        )
        assert np.array_equal(found, expected)
        unregister(client.client.unregister_system_shared_memory, name)
    finally:
        shared_memory.destroy_shared_memory_region(region)


def test_requests_by_a_stream(grpc: Client, upscalers: Upscalers) -> None:
    """gRPC's streams take the same requests."""
    answers: list[tuple[Any, Any]] = []
    grpc.client.start_stream(lambda result, error: answers.append((result, error)))
    images = [pixels_of((20 + n, 30), seed=n) for n in range(5)]
    for n, image in enumerate(images):
        grpc.client.async_stream_infer("two", grpc.inputs(sent(image)), request_id=str(n))
    grpc.client.stop_stream()
    assert [error for _, error in answers] == [None] * 5
    for result, _ in answers:
        n = int(result.get_response().id)
        assert np.array_equal(unpacked(result)["RESULT"], upscalers["two"](images[n]).image)
