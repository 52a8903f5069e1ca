"""Brings a network into its deployable form: exact rewrites of `pcsr.models`, one module per graph.

The first layer of an MLP acts on [feature, offset, cell]; its feature part is a linear map of the
low-resolution features and is computed once per input pixel, behind the backbone. What is left per
output pixel is a gather, a 2-column product with the offset, and the remaining layers.
"""

import copy
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from pcsr.models import PCSR
from pcsr.models.backbones.imdn import collapse
from pcsr.models.liif import LEAST_AREA, LiifUpsampler, Mlp, UpsamplerSpec
from pcsr.models.pcsr import feature_width

# The exporter's optimizer takes 1e-9 for zero and drops it: areas of zero would make NaN. Weights
# are ratios of areas, so that a power of two changes no bit of them.
AREA_UNIT = 2.0**20


class FoldedBackbone(nn.Module):
    """Maps image [1, 3, h, w] RGB in [0, 1] -> features [1, D, h, w], and one row map [h*w, C] per
    MLP: the feature part of its first layer.

    The features are those of the network's backbone. Where an upsampler unfolds them, its first
    layer is a zero-padded 3x3 convolution, whose outputs are features instead.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: PCSR, mlps: list["FoldedMlp"]) -> None:
        super().__init__()
        self.mlps = mlps
        self.places: tuple[Sequence[int], int] | None = None
        self.backbone = deployable(network.encoder)
        self.register_buffer("mean", network.mean)
        self.register_buffer("std", network.std)
        unfolding = [mlp for mlp in mlps if mlp.unfold]
        self.is_read = len(unfolding) < len(mlps)
        self.window = _window(unfolding) if unfolding else None
        if unfolding:
            _read_window(mlps, feature_width(network.encoder) if self.is_read else 0)
        self.weights = nn.ParameterList([mlp.feature_weight for mlp in mlps])

    def widen(self, places: Sequence[int], count: int) -> None:
        """Spreads the features among `count` channels, and the weights of the MLPs with them; all
        other channels and weights are zero.
        """
        self.places = (places, count)
        for mlp in self.mlps:
            wide = _spread(mlp.feature_weight.detach(), 0, places, count)
            mlp.feature_weight = nn.Parameter(wide, requires_grad=False)
        self.weights = nn.ParameterList([mlp.feature_weight for mlp in self.mlps])

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        features = self.backbone((image - self.mean) / self.std)
        if self.window is not None:
            windows = self.window(features)
            features = torch.cat([features, windows], dim=1) if self.is_read else windows
        if self.places is not None:
            features = _spread(features, 1, *self.places)
        rows = features.flatten(2).squeeze(0).transpose(0, 1)
        return features, *(rows @ weight for weight in self.weights)


class FoldedMlp(nn.Module):
    """Computes an MLP behind the folded first layer, for N output pixels.

    features [P, C]: row map of the backbone graph; index [N] int32: row of each pixel's nearest
    input pixel; offset [N, 2]: (row, column) distance to its centre, in input pixels times 2; cell
    [2]: (2h/H, 2w/W). With four neighbours index [N, 4] and offset [N, 4, 2].
    Returns [N, outputs].
    """

    offset_weight: Tensor
    cell_weight: Tensor
    bias: Tensor

    def __init__(self, mlp: Mlp, spec: UpsamplerSpec) -> None:
        super().__init__()
        layers = copy.deepcopy(mlp.layers)
        first, rest = _linear(layers[0]), layers[1:]
        weight = first.weight.detach().t()
        width = weight.shape[0] - (4 if spec.cell else 2)
        cell_weight = weight[width + 2 :] if spec.cell else weight.new_zeros(2, weight.shape[1])
        self.feature_weight = nn.Parameter(weight[:width].contiguous())
        self.register_buffer("offset_weight", weight[width : width + 2].contiguous())
        self.register_buffer("cell_weight", cell_weight.contiguous())
        self.register_buffer("bias", first.bias.detach().clone())
        self.rest = rest
        self.unfold, self.neighbours = spec.unfold, spec.neighbours

    def forward(self, features: Tensor, index: Tensor, offset: Tensor, cell: Tensor) -> Tensor:
        constant = self.bias + cell @ self.cell_weight
        if self.neighbours == 1:
            return self._evaluate(features, index, offset, constant)
        corners = [offset.select(1, corner) for corner in range(self.neighbours)]
        areas = [
            (at[:, :1] * AREA_UNIT * at[:, 1:]).abs() + LEAST_AREA * AREA_UNIT for at in corners
        ]
        total = sum(areas[1:], areas[0])
        weighted = [
            self._evaluate(features, index.select(1, corner), at, constant) * (area / total)
            for corner, (at, area) in enumerate(zip(corners, reversed(areas), strict=True))
        ]
        return sum(weighted[1:], weighted[0])

    def _evaluate(
        self, features: Tensor, index: Tensor, offset: Tensor, constant: Tensor
    ) -> Tensor:
        position = torch.addmm(constant, offset, self.offset_weight)
        out: Tensor = self.rest(F.embedding(index, features) + position)
        return out


def mlp_arrays(mlp: FoldedMlp) -> dict[str, NDArray[np.float32]]:
    """Returns the weights of a folded MLP, [outputs, inputs], by their names in mlps.npz."""
    row, column = mlp.offset_weight
    tensors = {
        "feature_weight": mlp.feature_weight.t(),
        "row_weight": row,
        "column_weight": column,
        "cell_weight": mlp.cell_weight.t(),
        "bias": mlp.bias,
    }
    linears = [layer for layer in mlp.rest.children() if isinstance(layer, nn.Linear)]
    for index, linear in enumerate(linears, 1):
        tensors |= {f"weight_{index}": linear.weight, f"bias_{index}": linear.bias}
    return {name: tensor.detach().contiguous().numpy() for name, tensor in tensors.items()}


def fold_upsamplers(network: PCSR) -> list[FoldedMlp]:
    """Folds the upsamplers, heaviest first; the normalisation of what they give goes into their
    last layers: std of residuals, and mean of colours, which have no base.
    """
    return [_folded(upsampler, network) for upsampler in network.upsamplers]


def _folded(upsampler: LiifUpsampler, network: PCSR) -> FoldedMlp:
    mean, std = network.mean.flatten(), network.std.flatten()
    shift = mean if upsampler.spec.base == "none" else torch.zeros_like(mean)

    def scaled(values: Tensor) -> Tensor:
        return values * std[:, None] if values.ndim == 2 else values * std + shift

    return FoldedMlp(_with_last(upsampler.imnet, scaled), upsampler.spec)


def fold_classifier(network: PCSR) -> FoldedMlp:
    """Folds the classifier: for M = 2 to one output, logit of heavy minus logit of light, whose
    sigmoid is p_heavy. Else to M logits, heaviest first.
    """

    def turned(values: Tensor) -> Tensor:
        values = values.flip(0)
        return values[:1] - values[1:] if len(network.names) == 2 else values

    return FoldedMlp(_with_last(network.classifier.imnet, turned), network.classifier.spec)


def _window(unfolding: Sequence[FoldedMlp]) -> nn.Conv2d:
    """Makes the feature parts [9 D, C] of first layers one 3x3 convolution: the order of what is
    unfolded is that of a convolution's weights.
    """
    weight = torch.cat([mlp.feature_weight.detach().t() for mlp in unfolding])
    weight = weight.reshape(len(weight), -1, 3, 3)
    window = nn.Conv2d(weight.shape[1], len(weight), 3, padding=1, bias=False)
    window.weight = nn.Parameter(weight.contiguous(), requires_grad=False)
    return window


def _read_window(mlps: Sequence[FoldedMlp], width: int) -> None:
    """Gives each MLP the weights by which it reads the `width` features of the backbone and what
    the convolution adds to them: its own part alone.
    """
    own = [mlp.feature_weight.shape[1] if mlp.unfold else 0 for mlp in mlps]
    count, start = width + sum(own), width
    for mlp, wide in zip(mlps, own, strict=True):
        places = range(start, start + wide) if mlp.unfold else range(width)
        weight = torch.eye(wide) if mlp.unfold else mlp.feature_weight.detach()
        mlp.feature_weight = nn.Parameter(_spread(weight, 0, places, count), requires_grad=False)
        start += wide


def deployable(module: nn.Module) -> nn.Module:
    """Returns a copy with PReLU of one slope as LeakyReLU, which engines fuse with its convolution,
    and collapsible blocks collapsed. The ONNX exporter folds BatchNorm into its convolution.
    """
    module = collapse(module).eval()
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.PReLU) and child.num_parameters == 1:
                setattr(parent, name, nn.LeakyReLU(child.weight.item()))
    return module


def _spread(values: Tensor, axis: int, places: Sequence[int], count: int) -> Tensor:
    """Puts what lies along an axis at some places among `count`, with zeros at the others."""
    shape = (*values.shape[:axis], count, *values.shape[axis + 1 :])
    return values.new_zeros(shape).index_copy(axis, torch.tensor([*places]), values)


def _with_last(mlp: Mlp, change: Callable[[Tensor], Tensor]) -> Mlp:
    """Returns a copy with weight and bias of the last layer changed."""
    mlp = copy.deepcopy(mlp)
    last = _linear(mlp.layers[-1])
    last.weight, last.bias = (nn.Parameter(change(v.detach())) for v in (last.weight, last.bias))
    return mlp


def _linear(layer: nn.Module) -> nn.Linear:
    if not isinstance(layer, nn.Linear):
        raise TypeError(f"an Mlp begins and ends in a linear layer, found {type(layer).__name__}")
    return layer
