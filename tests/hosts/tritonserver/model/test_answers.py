"""What a model answers is what `Upscaler` gives, in the outputs that were asked for."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from pcsr import Upscaler
from pcsr.images import Picture, read_bytes, write_bytes
from tests.hosts.tritonserver.stand_in import Loaded, Tensor, load, utils
from tests.runtime.routing.calibrations import calibrated

FIGURES = {"HEAVY_SHARE", "STAGE_MS"}
NAMES = {"IMAGE": "RESULT", "IMAGE_UINT16": "RESULT_UINT16", "IMAGE_FP32": "RESULT_FP32"}
PEAKS = {"uint8": 255, "uint16": 65535, "float32": 1}
DTYPES = dict(zip(NAMES, PEAKS, strict=True))


@pytest.fixture(scope="module")
def bundle(three_way_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return calibrated(three_way_bundle, tmp_path_factory.mktemp("served") / "calibrated")


@pytest.fixture(scope="module")
def upscaler(bundle: Path) -> Iterator[Upscaler]:
    with Upscaler(bundle) as opened:
        yield opened


@pytest.fixture(scope="module")
def loaded(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaded]:
    found = load(bundle, tmp_path_factory.mktemp("models") / "three", module=utils())
    yield found
    found.model.finalize()


def pixels(dtype: str, channels: int = 3) -> Any:  # noqa: ANN401
    values = np.random.default_rng(1).random((13, 17, channels))
    return (values * PEAKS[dtype]).astype(dtype)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("name", NAMES)
def test_pixels_are_those_of_an_upscaler(
    name: str, channels: int, loaded: Loaded, upscaler: Upscaler
) -> None:
    image = pixels(DTYPES[name], channels)
    answer = loaded.answer({name: image})
    assert set(answer) == {NAMES[name], *FIGURES}
    expected = upscaler(image)
    assert answer[NAMES[name]].dtype == expected.image.dtype
    assert np.array_equal(answer[NAMES[name]], expected.image)
    assert answer["HEAVY_SHARE"].tolist() == [expected.stats.heavy_share]


@pytest.mark.parametrize(
    ("options", "keywords"),
    [
        ({"SCALE": 2.7}, {"scale": 2.7}),
        ({"SCALE": 3.0, "K": 0.4}, {"scale": 3, "k": 0.4}),
        ({"ADAPTIVE": True}, {"adaptive": True}),
        ({"HEAVY_RATIO": 0.1, "REFINE": False}, {"heavy_ratio": 0.1, "refine": False}),
        ({"PRESET": b"fast"}, {"preset": "fast"}),
        ({"MAX_PSNR_LOSS_DB": 0.05}, {"max_psnr_loss_db": 0.05}),
    ],
)
def test_options_are_those_of_a_call(
    options: dict[str, Any], keywords: dict[str, Any], loaded: Loaded, upscaler: Upscaler
) -> None:
    image = pixels("uint8")
    answer = loaded.answer({"IMAGE": image, **options}, "RESULT", "ROUTING")
    expected = upscaler(image, **keywords)
    assert set(answer) == {"RESULT", "ROUTING"}
    assert np.array_equal(answer["RESULT"], expected.image)
    assert expected.assignment is not None
    assert np.array_equal(answer["ROUTING"], expected.assignment)


def test_a_threshold_is_sent_where_one_decides(loaded: Loaded, upscaler: Upscaler) -> None:
    image = pixels("uint8")
    answer = loaded.answer({"IMAGE": image, "HEAVY_RATIO": 0.3}, "THRESHOLD")
    assert answer["THRESHOLD"].tolist() == [upscaler(image, heavy_ratio=0.3).stats.threshold]
    assert loaded.answer({"IMAGE": image}, "THRESHOLD") == {}  # three upsamplers, by k


@pytest.mark.parametrize("dtype", PEAKS)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_an_encoded_image_comes_back_encoded(
    dtype: str, channels: int, loaded: Loaded, upscaler: Upscaler
) -> None:
    image = pixels(dtype, channels)
    image = image[..., 0] if channels == 1 else image
    given = write_bytes(Picture(image), ".tiff")
    answer = loaded.answer({"ENCODED": given, "OUTPUT_FORMAT": b"tiff"})
    assert set(answer) == {"RESULT_ENCODED", *FIGURES}
    found = read_bytes(answer["RESULT_ENCODED"].item(), 10**6).pixels
    assert found.dtype == image.dtype
    assert np.array_equal(found, upscaler(image).image)


@pytest.mark.parametrize(
    ("form", "start"),
    [(b"png", b"\x89PNG"), (b"jpeg", b"\xff\xd8\xff"), (b"webp", b"RIFF"), (b"tiff", b"II*\0")],
)
def test_pixels_come_back_in_the_format_that_is_named(
    form: bytes, start: bytes, loaded: Loaded
) -> None:
    given = {"IMAGE": pixels("uint8"), "OUTPUT_FORMAT": form, "QUALITY": 40}
    answer = loaded.answer(given, "RESULT_ENCODED", "RESULT")
    assert set(answer) == {"RESULT", "RESULT_ENCODED"}
    assert answer["RESULT_ENCODED"].item().startswith(start)
    assert answer["RESULT"].shape == (52, 68, 3)


def test_an_encoded_image_is_upright_and_keeps_its_profile(
    loaded: Loaded, upscaler: Upscaler, tmp_path: Path
) -> None:
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    image = Image.fromarray(pixels("uint8"))
    image.save(tmp_path / "turned.png", icc_profile=icc, exif=exif)
    answer = loaded.answer({"ENCODED": (tmp_path / "turned.png").read_bytes()}, "RESULT_ENCODED")
    found = read_bytes(answer["RESULT_ENCODED"].item(), 10**6)
    upright = np.ascontiguousarray(np.rot90(pixels("uint8"), -1))
    assert np.array_equal(found.pixels, upscaler(upright).image)
    assert found.metadata.icc == icc


def test_a_gpu_s_tensors_stay_where_they_are(loaded: Loaded, upscaler: Upscaler) -> None:
    given = torch.from_numpy(pixels("float32"))
    answer = loaded.answer({"IMAGE_FP32": Tensor.from_dlpack("IMAGE_FP32", given)}, "RESULT_FP32")
    found = answer["RESULT_FP32"]
    assert isinstance(found, torch.Tensor)
    assert found.is_contiguous()
    assert np.array_equal(found.numpy(), upscaler(given.numpy()).image)
    encoded = loaded.answer(
        {"IMAGE_FP32": Tensor.from_dlpack("IMAGE_FP32", given)}, "RESULT_ENCODED", "ROUTING"
    )
    assert isinstance(encoded["ROUTING"], torch.Tensor)
    assert encoded["RESULT_ENCODED"].item().startswith(b"\x89PNG")


def test_times_are_json(loaded: Loaded) -> None:
    answer = loaded.answer({"ENCODED": write_bytes(Picture(pixels("uint8")), ".png")}, "STAGE_MS")
    times = json.loads(answer["STAGE_MS"].item())
    assert [*times] == ["queue", "decode", "compute", "upscaler"]
    assert times["compute"] > times["upscaler"]["backbone"] > 0


def test_the_image_is_copied_before_execute_returns(loaded: Loaded, upscaler: Upscaler) -> None:
    image = pixels("uint8")
    expected = upscaler(image).image
    sender = loaded.send({"IMAGE": image}, "RESULT")
    image[:] = 0  # the server takes its memory back
    (tensor,) = sender.response().output_tensors
    assert np.array_equal(tensor.array, expected)


def test_a_default_routes_where_a_request_names_nothing(
    bundle: Path, upscaler: Upscaler, tmp_path: Path
) -> None:
    found = load(bundle, tmp_path / "m", heavy_ratio=0.25, threads=1, warm_up=((9, 12),))
    image = pixels("uint8")
    by_default = found.answer({"IMAGE": image}, "RESULT")["RESULT"]
    assert np.array_equal(by_default, upscaler(image, heavy_ratio=0.25).image)
    named = found.answer({"IMAGE": image, "K": 0.0}, "RESULT")["RESULT"]
    assert np.array_equal(named, upscaler(image, k=0).image)
    found.model.finalize()


def test_a_plain_network_has_no_threshold(plain_bundle: Path, tmp_path: Path) -> None:
    found = load(plain_bundle, tmp_path / "plain")
    answer = found.answer({"IMAGE": pixels("uint8")})
    assert set(answer) == {"RESULT", "HEAVY_SHARE", "STAGE_MS"}
    assert found.refusal({"IMAGE": pixels("uint8")}, "ROUTING") == (
        "INVALID_ARG",
        "this model is a plain network, without routing; leave ROUTING out",
    )
    found.model.finalize()


def test_requests_are_counted(bundle: Path, tmp_path: Path) -> None:
    found = load(bundle, tmp_path / "counted")
    image = pixels("uint8")
    found.answer({"IMAGE": image, "HEAVY_RATIO": 0.5})
    found.answer({"IMAGE": image, "BUDGET_MS": 1e6})
    found.refusal({"IMAGE": image, "SCALE": 0.5})
    found.model.finalize()
    values = found.metrics.values
    counts = {key: value for key, value in values.items() if key[0] != "pcsr_stage_seconds"}
    heavy = counts.pop(("pcsr_heavy_pixels_total",))
    assert counts == {
        ("pcsr_requests_total", "ok"): 2,
        ("pcsr_requests_total", "invalid"): 1,
        ("pcsr_requests_total", "refused"): 0,
        ("pcsr_requests_total", "cancelled"): 0,
        ("pcsr_requests_total", "failed"): 0,
        ("pcsr_input_pixels_total",): 2 * 13 * 17,
        ("pcsr_output_pixels_total",): 2 * 52 * 68,
        ("pcsr_budgets_total", "kept"): 1,
        ("pcsr_budgets_total", "missed"): 0,
        ("pcsr_pending_requests",): 0,
        ("pcsr_pending_bytes",): 0,
    }
    assert 52 * 68 // 2 <= heavy <= 2 * 52 * 68
    assert values["pcsr_stage_seconds", "compute"] > 0
    assert values["pcsr_stage_seconds", "decode"] == 0
