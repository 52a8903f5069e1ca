"""Finds the values that activations take on the user's images."""

import copy
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from pcsr.export.graphs.layers import Layers
from pcsr.runtime.cpu.pipeline import FloatArray
from pcsr.runtime.onnxruntime_session import run_options

from .substitute import open_graph
from .weights.equalisation import read_parts

LEVELS = (1.0, 0.9999, 0.999)
"""Shares of the values of an image that a range holds. Rare large values cost all others steps."""
STRIDE = 4
LevelRanges = dict[str, dict[str, tuple[float, float]]]
"""The ranges of each level, which is a string, as in JSON."""
_ELEMENTWISE = ("Relu", "LeakyRelu", "PRelu", "Add", "Concat")
_Seen = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]
"""Least and largest value per channel of a tensor [C], and every 16th pixel of it [1, C, …]."""


def collect_ranges(
    model: onnx.ModelProto, images: Iterable[FloatArray], threads: int
) -> LevelRanges:
    """Returns per level and tensor the least and the largest value: the widest of all images. At
    level 1 of all values, at the others of every 16th pixel.

    images: [1, 3, h, w] float32, as the runtime gives them to the graph.
    """
    found: LevelRanges = {str(level): {} for level in LEVELS}
    for seen in _observe(model, _image_tensors(model), images, threads):
        for name, (least, most, some) in seen.items():
            for level in LEVELS:
                cuts = [1 - level, level]
                ends: Any = np.quantile(some, cuts) if level < 1 else (least.min(), most.max())
                low, high = map(float, ends)
                ranges = found[str(level)]
                before = ranges.get(name, (low, high))
                ranges[name] = (min(before[0], low), max(before[1], high))
    return found


def collect_peaks(
    model: onnx.ModelProto, images: Iterable[FloatArray], threads: int
) -> dict[str, NDArray[np.float64]]:
    """Returns per channel the largest absolute value of the tensors that convolutions read."""
    found: dict[str, NDArray[np.float64]] = {}
    for seen in _observe(model, read_parts(Layers(model)), images, threads):
        for name, (least, most, _some) in seen.items():
            peaks = np.maximum(np.abs(least), np.abs(most)).astype(np.float64)
            found[name] = np.maximum(found.get(name, peaks), peaks)
    return found


def _image_tensors(model: onnx.ModelProto) -> list[str]:
    """Lists what convolutions read or make, and what sums, joins and activations make of that."""
    layers, images = Layers(model), dict[str, None]()
    for node in layers.nodes:
        if node.op_type == "Conv":
            read = node.input[0]
            images |= dict.fromkeys((*layers.parts(read), read, node.output[0]))
        elif node.op_type in _ELEMENTWISE and not images.keys().isdisjoint(node.input):
            images[node.output[0]] = None
    return list(images)


def _observe(
    model: onnx.ModelProto, names: Sequence[str], images: Iterable[FloatArray], threads: int
) -> Iterator[dict[str, _Seen]]:
    """Yields what these tensors hold, image by image."""
    session = open_graph(_observed(model, names).SerializeToString(), threads)
    ends = [end for name in names for end in _ends(name)]
    for image in images:
        values = session.run(ends, {"image": image}, run_options())
        triples = zip(values[::3], values[1::3], values[2::3], strict=True)
        yield dict(zip(names, triples, strict=True))


def _ends(name: str) -> tuple[str, str, str]:
    return f"{name}:least", f"{name}:most", f"{name}:some"


def _observed(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """Returns the graph with extremes and some pixels of tensors as further outputs."""
    observed = copy.deepcopy(model)
    graph = observed.graph
    steps = {"starts": [0, 0], "ends": [2**31 - 1] * 2, "axes": [2, 3], "steps": [STRIDE] * 2}
    graph.initializer.extend(
        numpy_helper.from_array(np.array(values, np.int64), f"every:{name}")
        for name, values in {**steps, "pixel": [0, 2, 3]}.items()
    )
    for name in names:
        least, most, some = _ends(name)
        graph.node.extend(
            [
                helper.make_node("ReduceMin", [name, "every:pixel"], [least], keepdims=0),
                helper.make_node("ReduceMax", [name, "every:pixel"], [most], keepdims=0),
                helper.make_node("Slice", [name, *(f"every:{step}" for step in steps)], [some]),
            ]
        )
        graph.output.extend(onnx.ValueInfoProto(name=end) for end in (least, most, some))
    return observed
