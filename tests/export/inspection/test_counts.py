"""What the challenge counts, against its own figures and against closed forms, per input pixel."""

import importlib
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pcsr.errors import VerificationError
from pcsr.export.inspection.counts import SIZE, Counts, count_network
from pcsr.models import PlainNetwork, make_backbone
from pcsr.models.recognition import spandrel_networks

PIXELS = SIZE[0] * SIZE[1]


def plain(network: nn.Module, scale: int = 4) -> PlainNetwork:
    return PlainNetwork(network, scale, (0.5, 0.5, 0.5), (1, 1, 1)).eval()


def counted(name: str, **args: Any) -> Counts:  # noqa: ANN401
    return count_network(plain(make_backbone(name, args)))


def work(network: nn.Module) -> tuple[float, float, int]:
    """Per input pixel of an image of 16x16: FLOPs, activations; and the convolutions."""
    found = count_network(plain(network, 1), (16, 16))
    return found.flops / 256, found.activations / 256, found.convolutions


# The challenge's own baseline, and the networks that the library has


def test_imdn_has_the_figures_of_the_challenge() -> None:
    found = counted("imdn", nb=8)
    assert found.parameters == 893_936  # 0.894 M
    biases = 64 + 8 * (3 * 64 + 16 + 64) + 64 + 48
    assert found.flops == ((893_936 - biases) + 8 * 3 * 64) * PIXELS
    assert round(found.flops / 1e9, 2) == 58.53
    assert found.activations == biases * PIXELS
    assert round(found.activations / 1e6, 2) == 154.14
    assert found.convolutions == 1 + 8 * 5 + 2 == 43


def test_a_collapsible_imdn_counts_as_it_is_deployed() -> None:
    """Seven blocks have 38 convolutions by the count that gives 43 for eight; where 37 is printed
    for them, the parameters and FLOPs beside it are those of 38.
    """
    trained = counted("imdn", nb=7)
    assert trained == counted("imdn", nb=7, collapsed=True)
    assert (trained.parameters, trained.convolutions) == (790_496, 1 + 7 * 5 + 2)
    assert round(trained.flops / 1e9, 2) == 51.76
    assert round(trained.activations / 1e6, 2) == 136.31


def test_counting_leaves_the_network_as_it_is() -> None:
    network = plain(make_backbone("imdn", {"nb": 1}))
    names = [*network.state_dict()]
    count_network(network, (8, 8))
    assert [*network.state_dict()] == names
    assert all(weight.device.type == "cpu" for weight in network.parameters())


def test_fsrcnn() -> None:
    found = counted("fsrcnn", d=56, s=12, m=4)
    layers = 75 * 56 + 56 * 12 + 4 * 9 * 12 * 12 + 12 * 56
    slopes = 56 + 12 + 12 + 56
    deconvolution = 16 * 81 * 56 * 3  # at the output's size
    assert found.flops == (layers + slopes + deconvolution) * PIXELS
    assert found.activations == (56 + 12 + 4 * 12 + 56 + 16 * 3) * PIXELS
    assert found.convolutions == 1 + 1 + 4 + 1 + 1


def test_carn() -> None:
    found = counted("carn", nf=64, group=4, scale=4)
    grouped, fusions = 9 * 64 * 64 // 4, (2 + 3 + 4) * 64 * 64
    residual = 2 * grouped + 64 * 64 + 3 * 64
    joined = fusions + 3 * (2 + 1) * 64  # BatchNorm and ReLU
    block = 3 * residual + joined
    tail = (1 + 4) * (4 * grouped + 256) + 16 * 9 * 64 * 3
    assert found.flops == (27 * 64 + 3 * block + joined + tail) * PIXELS
    channels = 64 * (1 + 3 * (3 * 3 + 3) + 3) + (1 + 4) * 256 + 16 * 3
    assert found.activations == channels * PIXELS
    assert found.convolutions == 1 + 3 * (9 + 3) + 3 + 2 + 1


def test_srresnet() -> None:
    found = counted("srresnet", nf=64, nb=16, upscale=4)
    body = 27 * 64 + 32 * 9 * 64 * 64 + (1 + 16) * 64
    tail = 9 * 64 * (256 + 4 * 256 + 16 * 64 + 16 * 3) + (4 + 16 + 16) * 64
    assert found.flops == (body + tail) * PIXELS
    assert found.activations == (64 * 33 + 256 + 4 * 256 + 16 * 64 + 16 * 3) * PIXELS
    assert found.convolutions == 1 + 32 + 4


@pytest.mark.skipif(
    not spandrel_networks.is_installed(),
    reason=f"spandrel is not installed: {spandrel_networks.HOW_TO_INSTALL}",
)
def test_networks_of_spandrel() -> None:
    compact = importlib.import_module("spandrel.architectures.Compact").Compact
    found = count_network(plain(compact(num_feat=16, num_conv=4, upscale=4)))
    layers = 9 * (3 * 16 + 4 * 16 * 16 + 16 * 48)
    assert found == Counts(
        parameters=layers + 6 * 16 + 32 + 5 * 16,
        flops=(layers + 5 * 16) * PIXELS,
        activations=(5 * 16 + 48) * PIXELS,
        convolutions=6,
    )
    span = importlib.import_module("spandrel.architectures.SPAN").SPAN
    made = span(num_in_ch=3, num_out_ch=3, feature_channels=16, upscale=4)
    # It joins three convolutions to one at every run: convolutions of weights, which do not count.
    assert count_network(plain(made)).convolutions == 6 * 3 + 4


# Operators


def conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 1)


class Joined(nn.Conv2d):
    """Computes its weight by a convolution of others."""

    def forward(self, x: Tensor) -> Tensor:
        joined = F.conv2d(self.weight, torch.eye(3)[..., None, None].to(x))
        return F.conv2d(x, joined, self.bias)


class Tokens(nn.Module):
    """Attention of all 256 pixels with each other, in one head of 3 channels."""

    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.qkv, self.fused = nn.Linear(3, 9), fused
        self.out = nn.Linear(3, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x.flatten(2).transpose(1, 2)).chunk(3, dim=-1)
        if self.fused:
            mixed = F.scaled_dot_product_attention(q, k, v)
        else:
            mixed = (q @ k.transpose(1, 2)).softmax(-1) @ v
        out: Tensor = self.out(mixed).transpose(1, 2).unflatten(2, x.shape[2:])
        return out


ONE = (9, 3, 1)  # a convolution 3 -> 3
ATTENTION = (3 * 9 + 2 * 256 * 3 + 3 * 3, 0, 0)
OPERATORS = {
    "a convolution, without its bias": (conv(3, 3), ONE),
    "relu": (nn.Sequential(conv(3, 3), nn.ReLU()), (9 + 3, 3, 1)),
    "relu in place": (nn.Sequential(conv(3, 3), nn.ReLU(inplace=True)), (9 + 3, 3, 1)),
    "leaky relu": (nn.Sequential(conv(3, 3), nn.LeakyReLU(0.1, inplace=True)), (9 + 3, 3, 1)),
    "prelu": (nn.Sequential(conv(3, 3), nn.PReLU(3)), (9 + 3, 3, 1)),
    "elu": (nn.Sequential(conv(3, 3), nn.ELU()), (9 + 3, 3, 1)),
    "relu6": (nn.Sequential(conv(3, 3), nn.ReLU6()), (9 + 3, 3, 1)),
    "batch norm": (nn.Sequential(conv(3, 3), nn.BatchNorm2d(3)), (9 + 2 * 3, 3, 1)),
    "without weights": (nn.Sequential(conv(3, 3), nn.BatchNorm2d(3, affine=False)), (12, 3, 1)),
    "others": (
        nn.Sequential(conv(3, 3), nn.SiLU(), nn.GELU(), nn.Sigmoid(), nn.Softmax(1)), ONE),
    "strided": (
        nn.Sequential(nn.Conv2d(3, 8, 2, stride=2), nn.ConvTranspose2d(8, 3, 2, stride=2)),
        (4 * 3 * 8 / 4 + 4 * 8 * 3, 8 / 4 + 3, 2)),
    "dilated and depthwise": (nn.Conv2d(3, 3, 3, padding=2, dilation=2, groups=3), (27, 3, 1)),
    "of one dimension": (
        nn.Sequential(nn.Flatten(2), nn.Conv1d(3, 3, 1), nn.Unflatten(2, (16, 16))), (0, 0, 0)),
    "of weights": (Joined(3, 3, 1), ONE),
    "shared": (nn.Sequential(*[conv(3, 3)] * 3), (27, 9, 3)),
    "attention": (Tokens(fused=False), ATTENTION),
    "fused attention": (Tokens(fused=True), ATTENTION),
}  # fmt: skip


@pytest.mark.parametrize(("network", "expected"), OPERATORS.values(), ids=OPERATORS)
def test_operators(network: nn.Module, expected: tuple[float, float, int]) -> None:
    assert work(network) == expected


def test_what_is_counted_is_what_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without values as with them: the operators of a run on the CPU are counted the same."""
    network = plain(make_backbone("carn", {"nf": 8}))
    expected = count_network(network, (16, 16))
    original = torch.empty

    def on_the_cpu(*size: int, **_: Any) -> Tensor:  # noqa: ANN401
        return original(*size)

    monkeypatch.setattr(torch, "empty", on_the_cpu)
    monkeypatch.setattr(nn.Module, "to", lambda self, *_: self)
    assert count_network(network, (16, 16)) == expected


def test_a_network_that_asks_for_values_is_refused() -> None:
    class Asking(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * float(x.mean())

    with pytest.raises(VerificationError, match="cannot be counted without computing it"):
        count_network(plain(Asking()))
