"""Arrays and tensors of every kind: right, or refused with one line."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pcsr import ImageError, Upscaler
from pcsr.images import reading
from pcsr.runtime.layout import FLOAT_RANGE

IMAGE = np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8)
FLOATS = IMAGE.astype(np.float32) / np.float32(255)
BACKENDS = ["native", "onnxruntime", "torch"]


class Interface:
    """An object that gives its memory by NumPy's array interface alone."""

    def __init__(self) -> None:
        self.__array_interface__ = IMAGE.__array_interface__


class Subclass(np.ndarray):
    """A subclass of arrays."""


@pytest.fixture(scope="module", params=BACKENDS)
def upscaler(carn_like_bundle: Path, request: pytest.FixtureRequest) -> Upscaler:
    return Upscaler(carn_like_bundle, backend=request.param, threads=2)


def mapped(folder: Path) -> np.ndarray:
    np.save(folder / "image.npy", IMAGE)
    return np.load(folder / "image.npy", mmap_mode="r")  # type: ignore[no-any-return]


def read_only() -> np.ndarray:
    image = IMAGE.copy()
    image.flags.writeable = False
    return image


@pytest.mark.parametrize(
    "kind",
    ["mapped", "read-only", "negative", "fortran", "subclass", "unmasked", "interface", "strided"],
)
def test_every_kind_of_memory_gives_the_same(upscaler: Upscaler, tmp_path: Path, kind: str) -> None:
    padded = np.zeros((18, 12, 3), np.uint8)
    padded[::2] = IMAGE
    given: Any = {
        "mapped": mapped(tmp_path),
        "read-only": read_only(),
        "negative": IMAGE[::-1, ::-1].copy()[::-1, ::-1],
        "fortran": np.asfortranarray(IMAGE),
        "subclass": IMAGE.view(Subclass),
        "unmasked": np.ma.masked_array(IMAGE),
        "interface": Interface(),
        "strided": padded[::2],
    }[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = upscaler(given).image
    assert type(found) is np.ndarray
    assert np.array_equal(found, upscaler(IMAGE).image)


def test_a_tensor_gives_tensors(upscaler: Upscaler) -> None:
    expected = upscaler(IMAGE)
    for given in (torch.from_numpy(IMAGE), torch.from_numpy(IMAGE.copy()).flip(0).flip(0)):
        found: Any = upscaler(given)
        for name in ("image", "assignment", "difficulty"):
            tensor = getattr(found, name)
            assert isinstance(tensor, torch.Tensor)
            assert tensor.device.type == "cpu"
            assert np.array_equal(tensor.numpy(), getattr(expected, name))
        assert found.heavy.shape == expected.image.shape[:2]


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (IMAGE.transpose(2, 0, 1), r"shape \[3, 9, 12\]; .*transpose\(1, 2, 0\).*permute"),
        (torch.from_numpy(IMAGE).permute(2, 0, 1), r"permute\(1, 2, 0\)"),
        (FLOATS.astype(np.float64), r"found float64; convert them first, as astype\(np.float32\)"),
        (FLOATS.astype(np.float16), "found float16; convert them first"),
        (IMAGE > 9, r"found bool; .*astype\(np.uint8\) \* 255"),
        (IMAGE.astype(np.int64), "found int64; convert them first"),
        (IMAGE[:0], r"found shape \[0, 12, 3\]"),
        (np.ma.masked_less(IMAGE, 40), "without masked pixels"),
        (torch.from_numpy(FLOATS).requires_grad_(), r"image.detach\(\)"),
        (torch.from_numpy(FLOATS).to_sparse(), "expected a dense tensor"),
        (torch.zeros(9, 12, 3, device="meta"), r"found a Tensor on meta"),
        (torch.zeros(9, 12, 3, dtype=torch.bfloat16), "found bfloat16; "),
        ("photo.png", r"pcsr.images.read\), or call pcsr.upscale_file"),
        (Path("photo.png"), "read the file first"),
    ],
)
def test_what_is_refused_says_what_to_do(upscaler: Upscaler, image: Any, message: str) -> None:  # noqa: ANN401
    with pytest.raises(ImageError, match=message) as refused:
        upscaler(image)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_floats_on_another_scale_are_refused_with_the_files_limits(
    upscaler: Upscaler, channels: int
) -> None:
    assert FLOAT_RANGE == reading._FLOAT_RANGE
    image = np.full((9, 12, channels), 0.5, np.float32)
    for value in (-1.0, 2.0):
        image[3, 4, -1] = value
        upscaler(image)
    for value in (-1.01, 2.01, 255.0):
        image[3, 4, -1] = value
        with pytest.raises(ImageError, match=r"divide 0[.][.]255 by 255"):
            upscaler(image)
