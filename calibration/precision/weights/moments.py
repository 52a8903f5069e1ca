"""Finds how the values that a convolution reads vary together."""

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from pcsr.calibration.precision.substitute import open_graph
from pcsr.export.graphs.layers import Layers, attributes, groups
from pcsr.runtime.cpu.pipeline import FloatArray
from pcsr.runtime.onnxruntime_session import run_options

STRIDE = 4


@dataclass(frozen=True)
class Moments:
    """Means of what one pixel of a convolution reads, n values: window by window of its channels,
    [groups, channels * kh * kw].
    """

    mean: NDArray[np.float64]
    """[groups, n]."""
    covariance: NDArray[np.float64]
    """[groups, n, n]."""


def collect_moments(
    model: onnx.ModelProto, images: Iterable[FloatArray], threads: int
) -> dict[str, Moments]:
    """Returns the moments of each convolution by its name, over every 16th pixel of the images.

    images: [1, 3, h, w] float32. All tensors of one are held at a time.
    """
    layers = Layers(model)
    names = list(dict.fromkeys(node.input[0] for node in layers.convolutions))
    observed = copy.deepcopy(model)
    del observed.graph.output[:]
    observed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = open_graph(observed.SerializeToString(), threads)
    sums: dict[str, list[Any]] = {}
    for image in images:
        seen = session.run(names, {"image": image}, run_options())
        values = dict(zip(names, seen, strict=True))
        for node in layers.convolutions:
            patches = _patches(values[node.input[0]], node, layers.weights[node.input[1]].shape)
            products = (patches @ patches.transpose(0, 2, 1)).astype(np.float64)
            new = [patches.shape[2], patches.sum(axis=2, dtype=np.float64), products]
            before = sums.get(node.name, [0, 0, 0])
            sums[node.name] = [a + b for a, b in zip(before, new, strict=True)]
    return {name: _moments(*each) for name, each in sums.items()}


def _moments(count: int, total: NDArray[np.float64], products: NDArray[np.float64]) -> Moments:
    mean = total / count
    return Moments(mean, products / count - mean[:, :, None] * mean[:, None, :])


def _patches(
    image: NDArray[np.float32], node: onnx.NodeProto, shape: tuple[int, ...]
) -> NDArray[np.float32]:
    """Returns what every 16th pixel reads, [groups, n, pixels]."""
    values: Mapping[str, Any] = attributes(node)
    top, left, bottom, right = values.get("pads", [0] * 4)
    step_y, step_x = values.get("strides", [1, 1])
    gap_y, gap_x = values.get("dilations", [1, 1])
    padded = np.pad(image[0], ((0, 0), (top, bottom), (left, right)))
    reach = ((shape[2] - 1) * gap_y, (shape[3] - 1) * gap_x)
    windows = np.lib.stride_tricks.sliding_window_view(
        padded, (reach[0] + 1, reach[1] + 1), axis=(1, 2)
    )
    taken = windows[:, :: STRIDE * step_y, :: STRIDE * step_x, ::gap_y, ::gap_x]
    channels = taken.transpose(0, 3, 4, 1, 2)  # [C, kh, kw, y, x]
    return channels.reshape(groups(node), shape[1] * shape[2] * shape[3], -1).astype(np.float32)
