"""Describes a network for the manifest: its parts, and their costs as counted from the graphs."""

import math
import platform
from collections.abc import Mapping

import numpy as np
import onnx
import onnxruntime
import onnxscript
import torch
from torch import nn

import pcsr
from pcsr.manifest import COST_LR_SIZE, IMAGE_OUTPUTS, Costs, Model, Upsampler
from pcsr.models import PCSR, PlainNetwork
from pcsr.models.backbones.imdn import collapse
from pcsr.models.checkpoint import Checkpoint
from pcsr.models.flops import count_flops
from pcsr.models.liif import Mlp
from pcsr.models.padded import PaddedNetwork

from .graphs.analysis import count_macs, working_bytes

MAC_SIZE = 16


def describe_model(
    checkpoint: Checkpoint,
    network: PCSR | PlainNetwork,
    models: Mapping[str, onnx.ModelProto],
    radius_px: int | None,
) -> Model:
    """Returns the manifest's entry of the network. models: the float32 graphs; radius_px: how far
    tiles have to look around, None where there are none.
    """
    what = checkpoint.description
    graph = image_graph(models)
    encoder = network.encoder if isinstance(network, PCSR) else None
    working = working_bytes(graph, h=MAC_SIZE, w=MAC_SIZE)
    return Model(
        backbone=what.backbone,
        backbone_args=what.backbone_args,
        feature_width=_channels(graph) if encoder is not None else 0,
        upsamplers=tuple(
            Upsampler(spec.widths, spec.neighbours, spec.base) for spec in what.upsamplers
        ),
        classifier_widths=what.classifier_widths,
        receptive_radius_px=radius_px,
        working_bytes_per_px=math.ceil(working / MAC_SIZE**2),
        mean=_rounded(network.mean),
        std=_rounded(network.std),
        size_multiple=_size_multiple(network),
        parameters=count_parameters(network) or None,
    )


def count_parameters(network: nn.Module) -> int:
    """Counts what the training of a network learns; what collapses counts as it is exported."""
    return sum(parameter.numel() for parameter in collapse(network).parameters())


def _size_multiple(network: PCSR | PlainNetwork) -> int:
    inner = getattr(network, "network", None)
    return inner.multiple if isinstance(inner, PaddedNetwork) else 1


def image_graph(models: Mapping[str, onnx.ModelProto]) -> onnx.ModelProto:
    """Returns the graph that takes the image."""
    return next(model for role, model in models.items() if role in IMAGE_OUTPUTS)


def _channels(graph: onnx.ModelProto) -> int:
    return int(graph.graph.output[0].type.tensor_type.shape.dim[1].dim_value)


def _rounded(values: torch.Tensor) -> tuple[float, ...]:
    return tuple(float(f"{value:.7g}") for value in values.flatten().tolist())


def count_costs(network: PCSR | PlainNetwork, models: Mapping[str, onnx.ModelProto]) -> Costs:
    """Counts the work of each part. models: the float32 graphs."""
    macs = count_macs(image_graph(models), h=MAC_SIZE, w=MAC_SIZE) / MAC_SIZE**2
    if isinstance(network, PlainNetwork):
        image = torch.zeros(1, 3, COST_LR_SIZE, COST_LR_SIZE)
        return Costs(count_flops(network, image), 0, (), macs, 0, ())
    flops, upsamplers = network.cost_flops(1)
    row_macs = {
        role: count_macs(model, pixels=1, rows=2) - count_macs(model, pixels=1, rows=1)
        for role, model in models.items()
        if role not in IMAGE_OUTPUTS
    }
    classifier_macs = row_macs.pop("classifier", 0)
    return Costs(
        backbone_flops=flops,
        classifier_flops=_mlp_flops(network.classifier.imnet) if classifier_macs else 0,
        upsampler_flops=tuple(work // COST_LR_SIZE**2 for work in upsamplers),
        backbone_macs=macs,
        classifier_macs=classifier_macs,
        upsampler_macs=tuple(row_macs.values()),
    )


def _mlp_flops(mlp: Mlp) -> int:
    """Counts the FLOPs of an MLP for one pixel."""
    first = next(layer for layer in mlp.layers if isinstance(layer, nn.Linear))
    return count_flops(mlp, torch.zeros(1, first.in_features))


def tool_versions() -> dict[str, str]:
    """Lists the versions of what makes a bundle."""
    return {
        "pcsr": pcsr.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "onnx": onnx.__version__,
        "onnxscript": onnxscript.__version__,
        "onnxruntime": onnxruntime.__version__,
        "numpy": np.__version__,
    }
