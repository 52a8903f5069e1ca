"""The receptive field of a graph against gradients; operators that have none that is bounded."""

from collections.abc import Callable

import onnx
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pcsr.export.graphs.onnx_graph import GraphSource, export_graph
from pcsr.export.graphs.receptive_field import receptive_field

SIDE = 41
Forward = Callable[[Tensor], Tensor]


class Net(nn.Module):
    """A function of an image, with layers of random weights."""

    def __init__(self, forward: Forward, *layers: nn.Module) -> None:
        super().__init__()
        self.layers, self.function = nn.ModuleList(layers), forward

    def forward(self, image: Tensor) -> Tensor:
        return self.function(image)


def sequence(*layers: nn.Module) -> Net:
    return Net(nn.Sequential(*layers), *layers)


def conv(inputs: int, outputs: int, size: int | tuple[int, int] = 3, **options: int) -> nn.Conv2d:
    options = {"padding": 1} | options
    return nn.Conv2d(inputs, outputs, size, **options)  # type: ignore[arg-type]


def sliced() -> Net:
    layer = conv(3, 3, 5, padding=0)
    return Net(lambda x: layer(F.pad(x, (3, 3, 3, 3), "reflect"))[:, :, 1:-1, 1:-1], layer)


EXACT = {
    "conv": (sequence(conv(3, 3)), 1),
    "dilated": (sequence(conv(3, 3, 5, padding=6, dilation=3)), 6),
    "oblong": (sequence(nn.Conv2d(3, 3, (3, 7), padding=(1, 3))), 3),
    "pooled": (sequence(nn.AvgPool2d(5, 1, 2), conv(3, 3)), 3),
    "shuffled": (sequence(conv(3, 12), nn.PixelShuffle(2)), 1),
    "conv-behind-shuffle": (sequence(conv(3, 12), nn.PixelShuffle(2), conv(3, 3)), 2),
    "four-behind-shuffle": (
        sequence(conv(3, 48), nn.PixelShuffle(4), *(conv(3, 3) for _ in range(4))), 2),
    "five-behind-shuffle": (
        sequence(conv(3, 48), nn.PixelShuffle(4), *(conv(3, 3) for _ in range(5))), 3),
    "twice-shuffled": (
        sequence(conv(3, 12), nn.PixelShuffle(2), conv(3, 12), nn.PixelShuffle(2), conv(3, 3)), 2),
    "deconvolution": (
        sequence(nn.ConvTranspose2d(3, 3, 9, stride=4, padding=4, output_padding=3)), 1),
    "behind-deconvolution": (
        sequence(nn.ConvTranspose2d(3, 3, 4, stride=2, padding=1), conv(3, 3)), 1),
}  # fmt: skip
BOUNDED = {
    "nearest": sequence(conv(3, 3), nn.Upsample(scale_factor=2), conv(3, 3)),
    "bilinear": sequence(nn.Upsample(scale_factor=3, mode="bilinear"), conv(3, 3)),
    "bicubic": sequence(nn.Upsample(scale_factor=2, mode="bicubic"), conv(3, 3)),
    "padded-and-cut": sliced(),
}


def graph_of(net: nn.Module) -> onnx.ModelProto:
    example = {"image": torch.rand(1, 3, 24, 32)}
    dynamic = {"image": {2: "h", 3: "w"}}
    return export_graph(GraphSource("network", net, example, dynamic, ("upscaled",)), 20)


def measured_radius(net: nn.Module) -> int:
    """How far the input pixels that have a gradient lie from the input pixel of an output."""
    image = torch.rand(1, 3, SIDE, SIDE, requires_grad=True)
    out = net(image)
    scale = out.shape[2] // SIDE
    middle, furthest = SIDE // 2, 0
    for phase in range(scale):
        at = middle * scale + phase
        (gradient,) = torch.autograd.grad(out[0, :, at, at].sum(), image, retain_graph=True)
        reached = gradient[0].abs().sum(0).nonzero()
        furthest = max(furthest, int((reached - middle).abs().max()))
    return furthest


@pytest.mark.parametrize("name", EXACT)
def test_the_radius_is_the_furthest_pixel_that_has_a_gradient(name: str) -> None:
    net, radius = EXACT[name]
    assert measured_radius(net) == radius
    found = receptive_field(graph_of(net))
    assert (found.radius_px, found.obstacles) == (radius, ())


@pytest.mark.parametrize("name", BOUNDED)
def test_the_radius_of_a_resized_image_is_not_too_small(name: str) -> None:
    radius = receptive_field(graph_of(BOUNDED[name])).radius_px
    assert radius is not None
    assert 0 <= radius - measured_radius(BOUNDED[name]) <= 3


def attention(x: Tensor) -> Tensor:
    rows = x.flatten(2)
    weights = (rows.transpose(1, 2) @ rows).softmax(-1)
    return (rows @ weights).reshape(x.shape)


UNBOUNDED: dict[str, tuple[nn.Module, str]] = {
    "mean": (Net(lambda x: x * x.mean((2, 3), keepdim=True)), "ReduceMean reads the whole image"),
    "mean-of-rows": (Net(lambda x: x * x.mean(2, keepdim=True)), "ReduceMean reads the whole"),
    "pooling": (Net(lambda x: x * F.adaptive_avg_pool2d(x, 1)), "reads the whole image"),
    "group-norm": (sequence(conv(3, 4), nn.GroupNorm(2, 4)), "InstanceNormalization reads the"),
    "softmax": (Net(lambda x: x.softmax(3)), "Softmax reads the whole image"),
    "attention": (Net(attention), "MatMul multiplies pixels with each other"),
    "strides": (sequence(conv(3, 12, stride=2), nn.PixelShuffle(2)), "Conv has strides"),
    "turned": (Net(lambda x: x.transpose(2, 3).contiguous().view(x.shape)), "Reshape moves pixels"),
    "mirrored": (Net(lambda x: x + x.flip(3)), "Slice begins at a position that depends"),
    "scrambled": (
        Net(lambda x: x.permute(0, 2, 3, 1).reshape(x.shape)), "Reshape moves pixels"),
    "sizes": (Net(lambda x: x * x.shape[2]), "Mul computes with the image's size"),
    "corners": (
        sequence(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)),
        "Resize depends on the image's size"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNBOUNDED)
def test_what_looks_everywhere_or_treats_positions_differently_is_unbounded(name: str) -> None:
    net, words = UNBOUNDED[name]
    found = receptive_field(graph_of(net))
    assert found.radius_px is None
    assert words in str(found.obstacles[0])


@pytest.mark.parametrize(
    "net",
    [
        Net(lambda x: x.softmax(1)),
        Net(lambda x: x / x.pow(2).mean(1, keepdim=True).sqrt()),
        Net(lambda x: x.permute(0, 2, 3, 1).softmax(-1).permute(0, 3, 1, 2)),
        Net(lambda x: x.flatten(2).transpose(1, 2).softmax(-1).transpose(1, 2).reshape(x.shape)),
        Net(lambda x: torch.cat([x[:, 1:], x[:, :1]], 1)),
    ],
    ids=["softmax", "norm", "channels-last", "rows", "slices"],
)
def test_what_joins_channels_alone_looks_at_one_pixel(net: nn.Module) -> None:
    found = receptive_field(graph_of(net))
    assert (found.radius_px, found.obstacles) == (0, ())
