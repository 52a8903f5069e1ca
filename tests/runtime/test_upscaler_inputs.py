"""What an Upscaler takes and refuses: layouts, alpha, DLPack, options, devices."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

from pcsr import BackendError, BundleError, ImageError, Upscaler, UsageError
from tests import tolerances

PEAK = {"uint8": 255, "uint16": 65535}
SIZE = (11, 14)
HR_SIZE = (28, 35)  # at SCALE; 27.5 rounds to even
SCALE = 2.5
RGB_OF_GRAY = (0.299, 0.587, 0.114)
HAS_CUDA = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
IMPORTS = """
import json, sys
import numpy as np
import pcsr
after_import = sorted(sys.modules)
result = pcsr.Upscaler(sys.argv[1])(np.zeros((5, 7, 3), np.uint8), 2.5, adaptive=True)
assert result.image.shape == (12, 18, 3), result.image.shape
print(json.dumps([after_import, sorted(sys.modules)]))
"""

UNBUILT = """
import sys
import numpy as np
import pcsr
sys.modules["pcsr.runtime.cpu._pixels"] = None
image = np.zeros((5, 7, 3), np.uint8)
try:
    pcsr.Upscaler(sys.argv[1], backend="native")
except pcsr.BackendError as error:
    print(error)
pcsr.Upscaler(sys.argv[1], backend="onnxruntime")(image)
pcsr.Upscaler(sys.argv[2])(image)
"""


@pytest.fixture(scope="module", params=["native", "onnxruntime"])
def upscaler(carn_like_bundle: Path, request: pytest.FixtureRequest) -> Upscaler:
    return Upscaler(carn_like_bundle, backend=request.param)


def _image(channels: int | None, dtype: str) -> NDArray[Any]:
    shape = SIZE if channels is None else (*SIZE, channels)
    values = np.random.default_rng(0).random(shape)
    image = (values * PEAK[dtype]).astype(dtype) if dtype in PEAK else values.astype(dtype)
    if channels in (2, 4) and dtype in PEAK:
        image[..., -1].clip(1, out=image[..., -1])  # colours below 0 count for nothing
    return image


def _float_rgb(image: NDArray[Any]) -> NDArray[np.float32]:
    """The colour of an image as float32 [h, w, 3]."""
    planes = image.reshape(*SIZE, -1)
    colour = planes[..., :3] if planes.shape[2] > 2 else np.repeat(planes[..., :1], 3, axis=2)
    return colour.astype(np.float32) / np.float32(PEAK.get(image.dtype.name, 1))


def _before_rounding(rgb: NDArray[np.float32], is_gray: bool, dtype: str) -> NDArray[np.float64]:
    """[H, W, 3] in [0, 1] -> [H, W, 1 or 3] in the dtype's unit."""
    values = rgb.astype(np.float64)
    if is_gray:
        values = (values @ RGB_OF_GRAY)[..., None]
    return values.clip(0, 1) * PEAK[dtype] if dtype in PEAK else values


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("channels", [None, 1, 2, 3, 4])
def test_colour_is_that_of_the_float_image_in_the_callers_layout(
    upscaler: Upscaler, channels: int | None, dtype: str
) -> None:
    image = _image(channels, dtype)
    found = upscaler(image, SCALE).image
    assert found.dtype == image.dtype
    assert found.shape == (*HR_SIZE, *image.shape[2:])
    rgb = upscaler(_float_rgb(image), SCALE).image
    expected = _before_rounding(rgb, channels in (None, 1, 2), dtype)
    planes = found.reshape(*HR_SIZE, -1)[..., : expected.shape[2]]
    assert np.abs(planes - expected).max() <= tolerances.ROUNDED[dtype]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("channels", [2, 4])
def test_alpha_is_upscaled_as_a_gray_image(upscaler: Upscaler, channels: int, dtype: str) -> None:
    image = _image(channels, dtype)
    found = upscaler(image, SCALE).image[..., -1]
    assert np.array_equal(found, upscaler(image[..., -1], SCALE).image)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("channels", [2, 4])
@pytest.mark.parametrize("value", [0, 1, 0.3])
def test_a_constant_alpha_stays_constant(
    upscaler: Upscaler, channels: int, dtype: str, value: float
) -> None:
    image = _image(channels, dtype)
    image[..., -1] = value * PEAK.get(dtype, 1)
    found = upscaler(image, SCALE).image
    assert (found[..., -1] == image[0, 0, -1]).all()
    opaque = upscaler(image[..., :-1], SCALE).image
    assert np.array_equal(found[..., :-1], opaque)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("channels", [2, 4])
@pytest.mark.parametrize("backend", ["auto", "torch"])
def test_hidden_colours_do_not_reach_the_picture(
    carn_like_bundle: Path, backend: str, channels: int, dtype: str
) -> None:
    image = _image(channels, dtype)
    image[:, :5, -1] = 0
    image[:, 5:, -1] = PEAK.get(dtype, 1)
    other = image.copy()
    other[:, :5, :-1] = PEAK.get(dtype, 1)
    upscaler = Upscaler(carn_like_bundle, backend=backend)
    assert np.array_equal(upscaler(image, SCALE).image, upscaler(other, SCALE).image)


def test_alpha_does_not_change_the_statistics(upscaler: Upscaler) -> None:
    image = _image(4, "uint8")
    with_alpha, without = upscaler(image, SCALE).stats, upscaler(image[..., :3], SCALE).stats
    assert with_alpha.pixels_per_upsampler == without.pixels_per_upsampler
    assert sum(with_alpha.stage_ms.values()) <= with_alpha.total_ms


@pytest.mark.parametrize("channels", [None, 2, 3, 4])
def test_inputs_may_be_read_only_and_are_left_alone(
    upscaler: Upscaler, channels: int | None
) -> None:
    image = _image(channels, "float32")
    before = image.copy()
    image.flags.writeable = False
    upscaler(image, SCALE)
    assert np.array_equal(image, before)


def test_inputs_may_have_any_memory_order(upscaler: Upscaler) -> None:
    image = _image(3, "uint8")
    expected = upscaler(image, SCALE).image
    padded = np.zeros((2 * SIZE[0], 3 * SIZE[1], 5), np.uint8)
    padded[::2, ::3, 1:4] = image
    for same in (padded[::2, ::3, 1:4], np.asfortranarray(image), np.flip(image.copy()[::-1], 0)):
        assert np.array_equal(upscaler(same, SCALE).image, expected)


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
@pytest.mark.parametrize("channels", [None, 1, 2, 3, 4])
def test_big_endian_pixels_stay_big_endian(
    upscaler: Upscaler, channels: int | None, dtype: str
) -> None:
    image = _image(channels, dtype)
    swapped = image.astype(image.dtype.newbyteorder(">"))
    found = upscaler(swapped, SCALE).image
    assert np.array_equal(found, upscaler(image, SCALE).image)
    assert found.dtype == swapped.dtype


def test_the_result_is_a_new_writable_array(upscaler: Upscaler) -> None:
    image = _image(3, "float32")
    image.flags.writeable = False
    first = upscaler(image, 1)
    first.image[:] = 0
    assert not np.shares_memory(first.image, image)
    assert upscaler(image, 1).image.any()


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_a_dlpack_tensor_gives_what_its_array_gives(upscaler: Upscaler, dtype: str) -> None:
    image = _image(3, dtype)
    found = upscaler(torch.from_numpy(image), SCALE).image
    assert np.array_equal(found, upscaler(image, SCALE).image)
    planar = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
    assert np.array_equal(upscaler(planar.permute(1, 2, 0), SCALE).image, found)


@pytest.mark.parametrize(
    "image",
    [
        torch.zeros(5, 7, 3, requires_grad=True),
        torch.zeros(5, 7, 3, dtype=torch.float64),
        torch.zeros(5, 7, 3, dtype=torch.bfloat16),
        torch.zeros(3, 64, 64, dtype=torch.uint8),
        [[1, 2], [3]],
        [[1, 2], [3, 4]],
        "image.png",
        None,
        3,
    ],
    ids=["grad", "float64", "bfloat16", "planar", "ragged", "list", "path", "none", "number"],
)
def test_what_is_not_an_image_is_refused(upscaler: Upscaler, image: object) -> None:
    with pytest.raises(ImageError, match="expected"):
        upscaler(image)


@pytest.mark.parametrize("channels", [3, 4])
def test_a_nan_in_any_channel_is_refused(upscaler: Upscaler, channels: int) -> None:
    image = _image(channels, "float32")
    image[3, 4, -1] = np.nan
    with pytest.raises(ImageError, match="NaN"):
        upscaler(image)


def test_an_infinite_alpha_is_refused_even_if_constant(upscaler: Upscaler) -> None:
    image = _image(4, "float32")
    image[..., -1] = np.inf
    with pytest.raises(ImageError, match="NaN or values beyond"):
        upscaler(image)


@pytest.mark.parametrize("scale", [0.999, 0, -2, 1001, math.nan, math.inf])
def test_a_scale_below_one_or_not_finite_is_refused(upscaler: Upscaler, scale: float) -> None:
    with pytest.raises(UsageError, match="scale must be a number from 1 to 1000"):
        upscaler(_image(3, "uint8"), scale)


@pytest.mark.parametrize(
    "options",
    [
        {"k": math.nan},
        {"k": math.inf},
        {"heavy_ratio": 1.5},
        {"heavy_ratio": -0.1},
        {"heavy_ratio": math.nan},
        {"adaptive": True, "heavy_ratio": 0.2},
        {"adaptive": True, "k": 0.5},
        {"heavy_ratio": 0.2, "k": 0.5},
    ],
)
def test_options_out_of_range_or_at_odds_are_refused(
    upscaler: Upscaler, options: dict[str, Any]
) -> None:
    with pytest.raises(UsageError):
        upscaler(_image(3, "uint8"), **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0.5}, "without routing"),
        ({"adaptive": True}, "without routing"),
        ({"heavy_ratio": 0.2}, "without routing"),
        ({"scale": 2}, "upscales by 4 only"),
        ({"scale": 4.5}, "upscales by 4 only"),
    ],
)
def test_a_plain_network_refuses_routing_and_other_scales(
    plain_bundle: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        Upscaler(plain_bundle)(_image(3, "uint8"), **options)


@pytest.mark.skipif(HAS_CUDA, reason="this ONNX Runtime has CUDA")
@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:1"])
def test_a_gpu_that_is_not_there_is_an_error_not_a_fallback(
    carn_like_bundle: Path, device: str
) -> None:
    with pytest.raises(BackendError, match=f"'{device}' is not there") as error:
        Upscaler(carn_like_bundle, device)
    assert error.value.exit_code == 3


@pytest.mark.parametrize("device", ["", "gpu", "cpu:0", "cuda:x", "cuda:-1", "CPU", "cuda:"])
def test_an_unknown_device_is_refused(carn_like_bundle: Path, device: str) -> None:
    with pytest.raises(UsageError, match=r"unknown device .*expected cpu, cuda or cuda:N"):
        Upscaler(carn_like_bundle, device)


@pytest.mark.parametrize("device", ["cuda", "cuda:0"])
def test_the_native_backend_refuses_other_devices(carn_like_bundle: Path, device: str) -> None:
    with pytest.raises(BackendError, match=f"runs on the CPU, not on '{device}'") as error:
        Upscaler(carn_like_bundle, device, backend="native")
    assert error.value.exit_code == 3


def test_without_the_compiled_passes_the_native_backend_says_what_to_do(
    carn_like_bundle: Path, plain_bundle: Path
) -> None:
    command = [sys.executable, "-c", UNBUILT, str(carn_like_bundle), str(plain_bundle)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "needs pcsr's compiled passes" in done.stdout
    assert "--backend onnxruntime" in done.stdout


@pytest.mark.parametrize("backend", ["", "openvino", "OnnxRuntime"])
def test_an_unknown_backend_is_refused(carn_like_bundle: Path, backend: str) -> None:
    with pytest.raises(UsageError, match="unknown backend"):
        Upscaler(carn_like_bundle, backend=backend)


def test_a_precision_that_the_bundle_lacks_is_refused(carn_like_bundle: Path) -> None:
    with pytest.raises(BundleError, match=r"no fp16 graphs \(it has: fp32"):
        Upscaler(carn_like_bundle, precision="fp16")


@pytest.mark.parametrize("threads", [0, -1])
def test_no_threads_are_refused(carn_like_bundle: Path, threads: int) -> None:
    with pytest.raises(UsageError, match="threads must be from 1 to 256"):
        Upscaler(carn_like_bundle, threads=threads)


def test_neither_import_nor_an_upscale_on_the_cpu_imports_torch(carn_like_bundle: Path) -> None:
    command = [sys.executable, "-c", IMPORTS, str(carn_like_bundle)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    after_import, after_upscale = json.loads(done.stdout)
    assert not {"torch", "onnx", "onnxruntime", "pyvips"} & set(after_import)
    banned = {"torch", "onnxscript", "pcsr.models", "pcsr.export", "pcsr.training"}
    assert not banned & set(after_upscale)
