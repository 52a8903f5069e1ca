"""3x3 convolutions in groups, and the 1x1 convolution behind them, against PyTorch's in float32."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pcsr.runtime.kernels.convolutions.grouped import Projection, grouped
from pcsr.runtime.kernels.convolutions.layout import pack_grouped, pack_projection

from .test_pointwise import SLOPES, TOLERANCE, ended, last, random

SIZES = [(1, 1), (1, 37), (9, 1), (2, 3), (5, 17), (2, 90)]
TILE = (64, 4, 4)
each_dtype = pytest.mark.parametrize("dtype", list(TOLERANCE))


def weight_of(outputs: int, inputs: int, side: int, dtype: torch.dtype) -> Tensor:
    scale: float = (inputs * side**2) ** -0.5
    return (random(outputs, inputs, side, side) * scale).to(dtype)


def compare(
    groups: int = 4,
    width: tuple[int, int] = (16, 16),
    size: tuple[int, int] = (7, 9),
    *,
    dtype: torch.dtype = torch.float32,
    biased: bool = True,
    slope: float = 0.0,
    projection: int = 0,
    adds: bool = False,
    projection_slope: float = 0.0,
    count: int = 1,
    tile: tuple[int, int, int] = TILE,
) -> None:
    """width: channels of a group in and out. projection: outputs of the 1x1 convolution, or 0."""
    inputs, outputs = width
    x = last(random(count, groups * inputs, *size, dtype=dtype))
    weight = weight_of(groups * outputs, inputs, 3, dtype)
    bias = random(groups * outputs, dtype=dtype) if biased else None
    floats = None if bias is None else bias.float()
    expected = F.conv2d(x.float(), weight.float(), floats, padding=1, groups=groups)
    expected, end = ended(expected, None, slope), None
    if projection:
        of = weight_of(projection, groups * outputs, 1, dtype)
        more = random(projection, dtype=dtype) if biased else None
        added = last(random(count, projection, *size, dtype=dtype)) if adds else None
        expected = F.conv2d(expected, of.float(), None if more is None else more.float())
        expected = ended(expected, added, projection_slope)
        end = Projection(pack_projection(of, groups), projection, more, added, projection_slope)
    packed = pack_grouped(weight, groups)
    found = grouped(x, packed, (groups, outputs), bias, slope, end, tile)
    assert found.dtype == dtype
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert found.shape == expected.shape
    assert (found.float() - expected).abs().max() <= TOLERANCE[dtype]


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("width", [(16, 16), (12, 12), (1, 5)])
@each_dtype
def test_groups(groups: int, width: tuple[int, int], dtype: torch.dtype) -> None:
    compare(groups, width, dtype=dtype)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("projection", [0, 20])
def test_sizes(size: tuple[int, int], projection: int) -> None:
    compare(2, size=size, projection=projection, adds=True)


@pytest.mark.parametrize("projection", [0, 20])
def test_several_images(projection: int) -> None:
    compare(2, size=(3, 5), count=3, projection=projection, adds=True)


@pytest.mark.parametrize("rows", [1, 2, 4])
@pytest.mark.parametrize("projection", [0, 20])
def test_rows_of_a_program(rows: int, projection: int) -> None:
    for height in (1, 5):
        compare(1, size=(height, 40), projection=projection, tile=(32, rows, 4))


@pytest.mark.parametrize("slope", SLOPES)
@pytest.mark.parametrize("biased", [False, True])
def test_ends(slope: float, biased: bool) -> None:
    compare(1, (12, 12), (3, 4), slope=slope, biased=biased)


@pytest.mark.parametrize("outputs", [1, 48, 64, 128])
@each_dtype
def test_projections(outputs: int, dtype: torch.dtype) -> None:
    compare(2, size=(3, 7), projection=outputs, dtype=dtype, adds=True, slope=0.25)


@pytest.mark.parametrize("slope", SLOPES)
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("adds", [False, True])
def test_ends_of_projections(slope: float, biased: bool, adds: bool) -> None:
    compare(1, (12, 12), (3, 4), projection=48, projection_slope=slope, biased=biased, adds=adds)


def test_slices_of_channels_and_other_layouts() -> None:
    whole, weight = last(random(2, 24, 5, 6)), weight_of(8, 8, 3, torch.float32)
    packed = pack_grouped(weight, 1)
    for x in (whole[:, 8:16], random(2, 8, 5, 6)):
        found = grouped(x, packed, (1, 8), None, 1.0)
        expected = F.conv2d(x, weight, padding=1)
        assert (found - expected).abs().max() <= TOLERANCE[torch.float32]


def test_between_the_two_it_is_rounded_as_the_graph_does() -> None:
    x = last(random(1, 16, 6, 7, dtype=torch.float16))
    weight, of = weight_of(16, 16, 3, torch.float16), torch.eye(16).half().reshape(16, 16, 1, 1)
    packed = pack_grouped(weight, 1)
    alone = grouped(x, packed, (1, 16), None, 0.0)
    behind = grouped(x, packed, (1, 16), None, 0.0, Projection(pack_projection(of, 1), 16))
    assert torch.equal(alone, behind)


def test_no_pixels() -> None:
    weight = pack_grouped(weight_of(4, 4, 3, torch.float32), 1)
    assert grouped(torch.zeros(1, 4, 0, 5), weight, (1, 4), None, 0.0).shape == (1, 4, 0, 5)


def test_what_does_not_fit_is_refused() -> None:
    weight, projection = (
        pack_grouped(random(16, 16, 3, 3), 1),
        pack_projection(random(8, 16, 1, 1), 1),
    )
    for x in (random(1, 17, 3, 3), random(1, 34, 3, 3)):
        with pytest.raises(ValueError, match="channels in"):
            grouped(x, weight, (1 if x.shape[1] == 17 else 2, 16), None, 0.0)
    with pytest.raises(ValueError, match="1x1 convolution"):
        grouped(random(1, 16, 3, 3), weight, (1, 16), None, 0.0, Projection(projection, 20))
    sum_of_columns = Projection(projection, 8, None, random(1, 8, 3, 1))
    with pytest.raises(ValueError, match="a sum"):
        grouped(random(1, 16, 3, 3), weight, (1, 16), None, 0.0, sum_of_columns)
