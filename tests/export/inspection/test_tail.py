"""Backbone and tail of graphs, counted by hand."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pcsr.export.graphs.onnx_graph import export_graph, graph_sources
from pcsr.export.inspection.tail import GraphWork, ImageWork
from pcsr.models import PlainNetwork

from .networks import Espcn

BODY = 3 * 4 * 9  # a convolution 3 -> 4


class Tailed(nn.Module):
    """A convolution 3 -> 4, then a tail to twice the size."""

    def __init__(self, tail: nn.Module) -> None:
        super().__init__()
        self.body, self.tail = nn.Conv2d(3, 4, 3, padding=1), tail

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.tail(self.body(x))
        return out


class ReshapedShuffle(nn.Module):
    """A pixel shuffle that is written as reshapes."""

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        parts = x.reshape(n, c // 4, 2, 2, h, w).permute(0, 1, 4, 2, 5, 3)
        return parts.reshape(n, c // 4, 2 * h, 2 * w)


class AttendedByMean(nn.Module):
    """Lowers the resolution and raises it again, as attention of channels and places does."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 1)
        self.last = nn.Sequential(nn.Conv2d(4, 12, 1), nn.PixelShuffle(2))

    def forward(self, x: Tensor) -> Tensor:
        small = self.conv(F.avg_pool2d(x, 2))
        out: Tensor = self.last(x * F.interpolate(small, scale_factor=2.0))
        return out


def conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


def split(network: nn.Module) -> ImageWork:
    torch.manual_seed(0)
    plain = PlainNetwork(network, 2, (0, 0, 0), (1, 1, 1)).eval()
    return GraphWork.of(export_graph(graph_sources(plain)[0], 20)).split()


CASES = {
    "conv and shuffle, then a layer": (
        nn.Sequential(conv(4, 8), nn.PixelShuffle(2), conv(2, 3)),
        BODY,
        4 * 8 * 9 + 4 * 2 * 3 * 9,
        "DepthToSpace",
    ),
    "an activation before the shuffle": (
        nn.Sequential(conv(4, 8), nn.ReLU(), nn.PixelShuffle(2), conv(2, 3)),
        BODY,
        4 * 8 * 9 + 4 * 2 * 3 * 9,
        "DepthToSpace",
    ),
    "a shuffle of reshapes": (
        nn.Sequential(conv(4, 8), ReshapedShuffle(), conv(2, 3)),
        BODY,
        4 * 8 * 9 + 4 * 2 * 3 * 9,
        "Reshape",
    ),
    "resize": (
        nn.Sequential(conv(4, 4), nn.Upsample(scale_factor=2), conv(4, 3)),
        BODY + 4 * 4 * 9,
        4 * 4 * 3 * 9,
        "Resize",
    ),
    "transposed convolution": (
        nn.Sequential(conv(4, 4), nn.ConvTranspose2d(4, 3, 4, 2, 1)),
        BODY + 4 * 4 * 9,
        4 * 3 * 16,
        "ConvTranspose",
    ),
    "raised within the backbone": (AttendedByMean(), BODY + 4 * 4 / 4 + 4 * 12, 0, None),
}


@pytest.mark.parametrize(
    ("tail", "backbone_macs", "tail_macs", "begins"), CASES.values(), ids=CASES
)
def test_tails_are_told_from_backbones(
    tail: nn.Module, backbone_macs: float, tail_macs: float, begins: str | None
) -> None:
    assert split(Tailed(tail)) == ImageWork(backbone_macs, tail_macs, begins)


def test_a_network_that_ends_in_its_shuffle_has_no_tail() -> None:
    work = split(Espcn())
    assert work == ImageWork(BODY + 4 * 12 * 9, 0, None)
    assert work.tail_share == 0
