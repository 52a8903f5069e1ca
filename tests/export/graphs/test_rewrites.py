"""Padded channels and split joins: the same function, in graphs that the CPU likes better."""

from collections import Counter

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from pcsr.export.graphs.channel_padding import pad_channels
from pcsr.export.graphs.join_splitting import split_joins
from pcsr.models import make_backbone

ROUNDING = 2e-5  # of float32 sums in another order


def _graph(module: nn.Module) -> onnx.ModelProto:
    program = torch.onnx.export(
        module.eval(),
        (torch.rand(1, 3, 12, 9),),
        input_names=["image"],
        dynamic_shapes=({2: "h", 3: "w"},),
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    return program.model_proto


def _run(model: onnx.ModelProto, size: tuple[int, int]) -> list[NDArray[np.float32]]:
    image = np.random.default_rng(0).random((1, 3, *size), dtype=np.float32)
    outputs: list[NDArray[np.float32]] = ort.InferenceSession(model.SerializeToString()).run(
        None, {"image": image}
    )
    return outputs


def _assert_same(model: onnx.ModelProto, rewritten: onnx.ModelProto) -> None:
    onnx.checker.check_model(rewritten, full_check=True)
    assert [value.name for value in model.graph.output] == [v.name for v in rewritten.graph.output]
    for size in ((1, 1), (12, 9), (17, 23)):
        for expected, found in zip(_run(model, size), _run(rewritten, size), strict=True):
            scale = max(1.0, float(np.abs(expected).max()))
            np.testing.assert_allclose(found, expected, atol=ROUNDING * scale)


def _widths(model: onnx.ModelProto) -> set[tuple[int, ...]]:
    """Shapes (outputs, inputs per group) of the convolutions that are used."""
    shapes = {i.name: tuple(i.dims) for i in model.graph.initializer}
    return {shapes[n.input[1]][:2] for n in model.graph.node if n.op_type == "Conv"}


BACKBONES = [
    ("carn", {"nf": 52, "no_upsampling": True}),
    ("carn", {"nf": 24, "group": 2, "scale": 2}),
    ("fsrcnn", {"d": 48, "no_upsampling": True}),
    ("fsrcnn", {"d": 56}),
    ("srresnet", {"nf": 58, "nb": 2, "no_upsampling": True}),
    ("srresnet", {"nf": 13, "nb": 2, "upscale": 3}),
    ("imdn", {"nb": 2, "no_upsampling": True}),
]


@pytest.mark.parametrize(("name", "args"), BACKBONES)
def test_networks_keep_their_function(name: str, args: dict[str, object]) -> None:
    model = _graph(make_backbone(name, args))
    split = split_joins(model)
    _assert_same(model, split)
    _assert_same(model, pad_channels(split))
    _assert_same(model, pad_channels(model))


def test_groups_of_13_become_groups_of_16() -> None:
    model = _graph(make_backbone("carn", {"nf": 52, "no_upsampling": True}))
    assert (52, 13) in _widths(model)
    inner = {shape for shape in _widths(pad_channels(model)) if shape[1] != 3}
    assert {shape[1] % 16 for shape in inner} == {0}


class _Net(nn.Module):
    """conv 3 -> 12, then what a subclass makes of it."""

    def __init__(self, channels: int = 12) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, 5, 3, padding=1)


class _Elsewhere(_Net):
    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        x = F.relu(self.first(image))
        return self.second(x), x.mean(dim=1)


class _AddedToTheInput(_Net):
    def __init__(self) -> None:
        super().__init__(3)

    def forward(self, image: Tensor) -> Tensor:
        out: Tensor = self.second(self.first(image) + image)
        return out


class _Depthwise(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 12, 1), nn.Conv2d(12, 4, 1)
        self.depthwise = nn.Conv2d(12, 12, 3, padding=1, groups=12, bias=False)

    def forward(self, image: Tensor) -> Tensor:
        out: Tensor = self.last(self.depthwise(self.first(image)))
        return out


class _GroupsDiffer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 24, 1)
        self.halves = nn.Conv2d(24, 24, 3, padding=1, groups=2)
        self.thirds = nn.Conv2d(24, 24, 3, padding=1, groups=3)

    def forward(self, image: Tensor) -> Tensor:
        x = self.first(image)
        out: Tensor = self.halves(x) + self.thirds(x)
        return out


class _Joined(nn.Module):
    """A cascade; `again` reads a join that another one grows from, `aside` uses one twice."""

    def __init__(self, groups: int = 1) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 12, 3, padding=1)
        self.two = nn.Conv2d(24, 12, 1, groups=groups)
        self.three = nn.Conv2d(36, 12, 1, groups=groups)

    def forward(self, image: Tensor) -> Tensor:
        x = self.first(image)
        pair = torch.cat([x, F.relu(x)], dim=1)
        triple = torch.cat([pair, self.two(pair)], dim=1)
        out: Tensor = self.three(triple)
        return out


class _JoinedAndShown(_Joined):
    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        x = self.first(image)
        triple = torch.cat([torch.cat([x, F.relu(x)], dim=1), x], dim=1)
        return self.three(triple), triple


ODD = [
    _Elsewhere(),
    _AddedToTheInput(),
    _Depthwise(),
    _GroupsDiffer(),
    _Joined(),
    _Joined(groups=4),
    _JoinedAndShown(),
]


@pytest.mark.parametrize("module", ODD, ids=lambda module: type(module).__name__)
def test_odd_graphs_keep_their_function(module: nn.Module) -> None:
    model = _graph(module)
    _assert_same(model, pad_channels(model))
    _assert_same(model, split_joins(model))
    _assert_same(model, pad_channels(split_joins(model)))


def _kinds(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


def test_only_a_join_that_one_ungrouped_convolution_reads_is_split() -> None:
    split = _kinds(split_joins(_graph(_Joined())))
    assert (split["Concat"], split["Conv"]) == (1, 4)
    assert _kinds(split_joins(_graph(_Joined(groups=4))))["Concat"] == 2
    assert _kinds(split_joins(_graph(_JoinedAndShown())))["Concat"] == 2


def test_padding_that_more_than_doubles_the_work_is_not_done() -> None:
    model = _graph(make_backbone("srresnet", {"nf": 10, "nb": 1, "no_upsampling": True}))
    assert _widths(pad_channels(model)) == _widths(model)
