"""1x1 convolutions of joined maps against PyTorch's in float32."""

from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pcsr.runtime.kernels.convolutions.layout import chunk_of, pack_pointwise
from pcsr.runtime.kernels.convolutions.pointwise import pointwise
from tests import tolerances

TOLERANCE = {getattr(torch, k[6:]): v for k, v in tolerances.CONVOLVED.items()}
SLOPES = [0.0, 1.0, 0.25]


def random(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    seed = sum(index * size for index, size in enumerate(shape, start=3))
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def ended(y: Tensor, added: Tensor | None, slope: float) -> Tensor:
    y = y if added is None else y + added.float()
    return {0.0: y.relu(), 1.0: y}.get(slope, F.leaky_relu(y, slope))


def compare(
    channels: Sequence[int],
    outputs: int = 20,
    size: tuple[int, int] = (7, 9),
    *,
    dtype: torch.dtype = torch.float32,
    biased: bool = True,
    adds: bool = False,
    slope: float = 0.0,
    count: int = 1,
) -> None:
    maps = [last(random(count, c, *size, dtype=dtype)) for c in channels]
    weight = (random(outputs, sum(channels), 1, 1) / sum(channels) ** 0.5).to(dtype)
    bias = random(outputs, dtype=dtype) if biased else None
    added = last(random(count, outputs, *size, dtype=dtype)) if adds else None
    packed = pack_pointwise(weight, channels)
    found = pointwise(maps, packed, outputs, bias, added, slope)
    joined = torch.cat(maps, 1).float()
    expected = F.conv2d(joined, weight.float(), None if bias is None else bias.float())
    expected = ended(expected, added, slope)
    assert found.dtype == dtype
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert (found.float() - expected).abs().max() <= TOLERANCE[dtype]


@pytest.mark.parametrize("channels", [12, 16, 48, 52, 56, 64, 128, 192, 3])
@pytest.mark.parametrize("dtype", list(TOLERANCE))
def test_one_map(channels: int, dtype: torch.dtype) -> None:
    compare([channels], dtype=dtype)


@pytest.mark.parametrize("channels", [[64, 64], [64, 56, 64], [12, 64, 56, 20], [16, 16, 16, 16]])
@pytest.mark.parametrize("dtype", list(TOLERANCE))
def test_joined_maps(channels: list[int], dtype: torch.dtype) -> None:
    compare(channels, dtype=dtype, adds=True)


@pytest.mark.parametrize("outputs", [1, 12, 16, 52, 64, 128])
def test_outputs(outputs: int) -> None:
    compare([20, 16], outputs)


@pytest.mark.parametrize("size", [(1, 1), (1, 37), (41, 1), (13, 17), (30, 301)])
@pytest.mark.parametrize("count", [1, 3])
def test_sizes(size: tuple[int, int], count: int) -> None:
    compare([12, 20], 12, size, adds=True, count=count)


@pytest.mark.parametrize("slope", SLOPES)
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("adds", [False, True])
def test_ends(slope: float, biased: bool, adds: bool) -> None:
    compare([16], slope=slope, biased=biased, adds=adds)


def test_slices_of_channels_are_read_in_place_and_other_layouts_copied() -> None:
    whole = last(random(2, 24, 5, 6))
    maps = [whole[:, :16], whole[:, 16:], random(2, 8, 5, 6)]  # the last: channels first
    weight = random(12, 32, 1, 1)
    found = pointwise(maps, pack_pointwise(weight, [16, 8, 8]), 12, None, None, 1.0)
    expected = F.conv2d(torch.cat(maps, 1), weight)
    assert (found - expected).abs().max() <= 10 * TOLERANCE[torch.float32]


def test_nan_and_infinity_stay() -> None:
    x = last(torch.tensor([float("nan"), float("inf"), -float("inf"), 2]).reshape(1, 1, 2, 2))
    packed = pack_pointwise(torch.ones(1, 1, 1, 1), [1])
    for slope, expected in ((0.0, 0.0), (1.0, -float("inf")), (0.5, -float("inf"))):
        found = pointwise([x], packed, 1, None, None, slope).flatten().tolist()
        assert found[0] != found[0]
        assert found[1:] == [float("inf"), expected, 2]


def test_no_pixels() -> None:
    found = pointwise(
        [torch.zeros(1, 4, 0, 5)], pack_pointwise(random(8, 4, 1, 1), [4]), 8, None, None, 0.0
    )
    assert found.shape == (1, 8, 0, 5)


def test_what_does_not_fit_is_refused() -> None:
    x, weight = random(1, 16, 3, 3), pack_pointwise(random(8, 16, 1, 1), [16])
    with pytest.raises(ValueError, match="at most 4"):
        pointwise([x] * 5, weight, 8, None, None, 0.0)
    with pytest.raises(ValueError, match="different sizes"):
        pointwise([x, x[:, :, :2]], weight, 8, None, None, 0.0)
    with pytest.raises(ValueError, match="does not fit"):
        pointwise([x, x], weight, 8, None, None, 0.0)
    with pytest.raises(ValueError, match="does not fit"):
        pointwise([x], weight, 8, None, random(1, 8, 3, 1), 0.0)


def test_chunks_cover_every_map() -> None:
    assert [chunk_of(c) for c in ([12], [20, 12], [64], [192, 16])] == [16, 32, 64, 64]
    packed = pack_pointwise(torch.ones(20, 32, 1, 1), [20, 12])
    assert packed.shape == (64, 32)
    assert packed.sum() == 20 * 32
    assert packed[20:32].abs().max() == packed[44:].abs().max() == packed[:, 20:].abs().max() == 0
