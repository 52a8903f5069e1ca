"""Convolutions of images against PyTorch's in float32."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pcsr.runtime.kernels.convolutions.first import first, pack_first, parts_of
from tests import tolerances

from .test_pointwise import ended, last, random

TOLERANCE = {getattr(torch, k[6:]): v for k, v in tolerances.CONVOLVED.items()}
MEAN = (0.4488, 0.4371, 0.404, 0.25)
LAYOUTS = ["planar", "last", "window"]


def laid(x: Tensor, layout: str) -> Tensor:
    """The same image in other memory; a window lies inside of a larger image, every other column
    of it.
    """
    if layout != "window":
        return last(x) if layout == "last" else x
    n, c, h, w = x.shape
    whole = torch.full((n, c + 1, h + 3, 2 * w), float("nan"), dtype=x.dtype)
    return whole[:, 1:, 2 : h + 2, ::2].copy_(x)


def compare(
    channels: int = 3,
    side: int = 3,
    outputs: int = 20,
    size: tuple[int, int] = (5, 9),
    *,
    dtype: torch.dtype = torch.float32,
    kind: torch.dtype = torch.float32,
    biased: bool = True,
    less: bool = True,
    slope: float = 0.0,
    count: int = 1,
    layout: str = "planar",
) -> None:
    """kind: of the image; dtype: of the weight and the result."""
    x = random(count, channels, *size, dtype=kind)
    weight = (random(outputs, channels, side, side) / (channels * side**2) ** 0.5).to(dtype)
    bias = random(outputs, dtype=dtype) if biased else None
    mean = torch.tensor(MEAN[:channels], dtype=kind) if less else None
    packed, shape = pack_first(weight), (outputs, side)
    found = first(laid(x, layout), packed, shape, bias, mean, slope)
    inner = (x if mean is None else x - mean[:, None, None]).to(dtype).float()
    wanted = F.conv2d(
        inner, weight.float(), None if bias is None else bias.float(), padding=side // 2
    )
    assert found.dtype == dtype
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert found.shape == wanted.shape
    assert (found.float() - ended(wanted, None, slope)).abs().max() <= TOLERANCE[dtype]


@pytest.mark.parametrize("side", [3, 5, 7])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_windows(channels: int, side: int) -> None:
    compare(channels, side)


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("side", [3, 5])
def test_types(dtype: torch.dtype, side: int) -> None:
    for kind in {torch.float32, dtype}:
        compare(3, side, 48, dtype=dtype, kind=kind)


@pytest.mark.parametrize("outputs", [1, 12, 16, 56, 64, 128])
def test_outputs(outputs: int) -> None:
    compare(outputs=outputs)


@pytest.mark.parametrize("size", [(1, 1), (1, 37), (41, 1), (2, 2), (13, 17), (3, 301)])
@pytest.mark.parametrize("count", [1, 3])
def test_sizes(size: tuple[int, int], count: int) -> None:
    compare(3, 3, size=size, count=count)
    compare(3, 5, size=size, count=count)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout: str) -> None:
    compare(size=(6, 150), layout=layout, count=2)


@pytest.mark.parametrize("slope", [0.0, 1.0, 0.25, -0.14])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("less", [False, True])
def test_ends(slope: float, biased: bool, less: bool) -> None:
    compare(slope=slope, biased=biased, less=less)


def test_the_image_is_rounded_before_the_product() -> None:
    """As a graph casts it: 2049 is 2048 in half precision."""
    x, one = torch.full((1, 1, 1, 1), 2049.0), torch.zeros(1, 1, 3, 3, dtype=torch.float16)
    one[0, 0, 1, 1] = 1
    assert first(x, pack_first(one), (1, 3)).item() == 2048


def test_nan_and_infinity_stay_with_their_neighbours() -> None:
    x = torch.zeros(1, 1, 1, 7)
    x[..., 1], x[..., 5] = float("nan"), float("inf")
    found = first(x, pack_first(torch.ones(1, 1, 3, 3)), (1, 3), slope=0.0).flatten()
    assert found.isnan().tolist() == [True] * 3 + [False] * 4
    assert found[3:].tolist() == [0, float("inf"), float("inf"), float("inf")]


def test_no_pixels() -> None:
    packed = pack_first(random(8, 3, 3, 3))
    assert first(torch.zeros(1, 3, 0, 5), packed, (8, 3)).shape == (1, 8, 0, 5)


def test_what_does_not_fit_is_refused() -> None:
    x, packed = random(1, 3, 4, 4), pack_first(random(8, 3, 3, 3))
    with pytest.raises(ValueError, match="weight: expected"):
        first(x, packed, (8, 5))
    with pytest.raises(ValueError, match="mean: expected"):
        first(x, packed, (8, 3), mean=torch.zeros(1))
    with pytest.raises(ValueError, match="mean: expected"):
        first(x, packed, (8, 3), mean=torch.zeros(3, dtype=torch.float16))
    for channels, shape in ((5, (8, 3)), (3, (129, 3)), (3, (8, 9)), (3, (8, 4))):
        with pytest.raises(ValueError, match="too large"):
            first(random(1, channels, 4, 4), packed, shape)


def test_parts_hold_the_window() -> None:
    assert [parts_of(k) for k in (9, 27, 36, 75)] == [(16,), (32,), (32, 16), (64, 16)]
    assert parts_of(4 * 49) == (64, 64, 64, 16)
    packed = pack_first(torch.ones(48, 3, 5, 5))
    assert packed.shape == (80, 64)
    assert packed.sum() == 48 * 75
    assert packed[75:].abs().max() == packed[:, 48:].abs().max() == 0
