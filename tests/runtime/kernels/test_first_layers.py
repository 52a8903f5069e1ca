"""The first layers' products against PyTorch's in float32."""

import importlib

import pytest
import torch
from torch import Tensor

from pcsr.runtime.kernels.convolutions.first_layers import first_layers
from tests import tolerances

TOLERANCE = tolerances.CONVOLVED["torch.float16"]
DEPTHS = {"carn": (52, 128), "fsrcnn": (48, 96), "srresnet": (58, 272), "deep": (130, 16)}
HALF = torch.float16
ROOM = importlib.import_module("pcsr.runtime.kernels.convolutions.first_layers")


class Counted:
    """A kernel, and how often it was launched."""

    def __init__(self, kernel: object) -> None:
        self._kernel, self.launches = kernel, 0

    def __getitem__(self, grid: tuple[int, ...]) -> object:
        self.launches += 1
        return self._kernel[grid]  # type: ignore[index]


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Counted:
    """The kernel runs on the CPU too, and is counted."""
    counted = Counted(ROOM.first_layers_kernel)
    monkeypatch.setattr(ROOM, "DEVICES", {"cpu"})
    monkeypatch.setattr(ROOM, "first_layers_kernel", counted)
    return counted


def random(*shape: int, dtype: torch.dtype = HALF) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape))).to(dtype)


def last(features: Tensor) -> Tensor:
    return features.permute(1, 2, 0).contiguous().permute(2, 0, 1)


def compare(features: Tensor, rows: slice, columns: int = 32) -> None:
    depth = features.shape[0]
    weight = (random(depth, columns) / depth**0.5).to(features.dtype)
    constant = random(columns, dtype=features.dtype)
    found = first_layers(features, rows, weight, constant)
    expected = features[:, rows].flatten(1).T.float() @ weight.float() + constant.float()
    assert found.shape == expected.shape
    assert found.dtype == features.dtype
    assert found.is_contiguous()
    assert (found.float() - expected).abs().max() <= TOLERANCE


@pytest.mark.parametrize("name", list(DEPTHS))
def test_networks(name: str, kernel: Counted) -> None:
    depth, columns = DEPTHS[name]
    compare(last(random(depth, 5, 7)), slice(0, 5), columns)
    assert kernel.launches == 1


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (7, 37), (40, 51)])
def test_sizes(size: tuple[int, int], kernel: Counted) -> None:
    compare(last(random(20, *size)), slice(0, size[0]))
    assert kernel.launches == 1


@pytest.mark.parametrize("rows", [slice(0, 3), slice(3, 4), slice(2, 8), slice(7, 8)])
def test_bands_are_read_in_place(rows: slice, kernel: Counted) -> None:
    features = last(random(52, 8, 5))
    features[:, : rows.start] = features[:, rows.stop :] = float("nan")
    compare(features, rows, 128)
    assert kernel.launches == 1


def test_slices_of_channels_are_read_in_place(kernel: Counted) -> None:
    compare(last(random(30, 6, 5))[:20], slice(1, 6))
    assert kernel.launches == 1


@pytest.mark.parametrize(
    "features",
    [
        random(20, 6, 5),  # planes
        last(random(20, 6, 9))[:, :, :5],  # rows that do not follow each other
        last(random(20, 6, 5, dtype=torch.float32)),
    ],
    ids=["planes", "columns", "float32"],
)
def test_others_are_pytorchs(features: Tensor, kernel: Counted) -> None:
    compare(features, slice(1, 4))
    assert kernel.launches == 0


def test_without_a_gpu_pytorch_multiplies(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Counted(ROOM.first_layers_kernel)
    monkeypatch.setattr(ROOM, "first_layers_kernel", counted)
    compare(last(random(20, 6, 5)), slice(0, 6))
    assert counted.launches == 0


def test_no_rows(kernel: Counted) -> None:
    found = first_layers(last(random(20, 6, 5)), slice(2, 2), random(20, 32), random(32))
    assert found.shape == (0, 32)
    assert kernel.launches == 0


@pytest.mark.parametrize("weight", [random(21, 16), random(20, 16, dtype=torch.float32)])
def test_a_weight_that_does_not_fit(weight: Tensor) -> None:
    with pytest.raises(ValueError, match="weight: expected"):
        first_layers(last(random(20, 6, 5)), slice(0, 6), weight, random(16))
