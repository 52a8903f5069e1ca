"""The values that activations take on the user's images."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from pcsr.runtime.backends import FloatArray
from pcsr.runtime.backends.onnxruntime import run_options

from .layers import Layers
from .trial import open_graph

LEVELS = (1.0, 0.9999, 0.999)
"""Shares of the values of an image that a range holds. Rare large values cost all others steps."""
STRIDE = 4
_ELEMENTWISE = ("Relu", "LeakyRelu", "PRelu", "Add", "Concat")
AllRanges = dict[float, dict[str, tuple[float, float]]]


def collect_ranges(model: onnx.ModelProto, images: Iterable[FloatArray], threads: int) -> AllRanges:
    """Per level and tensor the least and the largest value: the widest of all images. At level 1
    of all values, at the others of every 16th pixel.

    images: [1, 3, h, w] float32, as the runtime gives them to the graph.
    """
    names = _image_tensors(model)
    session = open_graph(_observed(model, names).SerializeToString(), threads)
    found: AllRanges = {level: {} for level in LEVELS}
    ends = [_end(name, end) for name in names for end in ("least", "most", "some")]
    for image in images:
        values = session.run(ends, {"image": image}, run_options())
        for name, (least, most, some) in zip(
            names, zip(*[iter(values)] * 3, strict=True), strict=True
        ):
            for level in LEVELS:
                low, high = _quantiles(some, level) if level < 1 else (least.item(), most.item())
                before = found[level].get(name, (low, high))
                found[level][name] = (min(before[0], low), max(before[1], high))
    return found


def _image_tensors(model: onnx.ModelProto) -> list[str]:
    """What convolutions read or make, and what sums, joins and activations make of that."""
    layers, images = Layers(model), dict[str, None]()
    for node in layers.nodes:
        if node.op_type == "Conv":
            images |= dict.fromkeys((node.input[0], node.output[0]))
        elif node.op_type in _ELEMENTWISE and not images.keys().isdisjoint(node.input):
            images[node.output[0]] = None
    return [name for name in images if name in layers.maker]


def _end(name: str, end: str) -> str:
    return f"{name}:{end}"


def _observed(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """The graph with extremes and samples of tensors as further outputs."""
    observed = onnx.ModelProto()
    observed.CopyFrom(model)
    graph = observed.graph
    steps = {"starts": [0, 0], "ends": [2**31 - 1] * 2, "axes": [2, 3], "steps": [STRIDE] * 2}
    graph.initializer.extend(
        numpy_helper.from_array(np.array(values, np.int64), f"every:{name}")
        for name, values in steps.items()
    )
    for name in names:
        least, most, some = (_end(name, end) for end in ("least", "most", "some"))
        graph.node.extend(
            [
                helper.make_node("ReduceMin", [name], [least], keepdims=0),
                helper.make_node("ReduceMax", [name], [most], keepdims=0),
                helper.make_node("Slice", [name, *(f"every:{step}" for step in steps)], [some]),
            ]
        )
        graph.output.extend(onnx.ValueInfoProto(name=end) for end in (least, most, some))
    return observed


def _quantiles(values: NDArray[np.float32], level: float) -> tuple[float, float]:
    low, high = np.quantile(values, [1 - level, level])
    return float(low), float(high)


def as_json(ranges: AllRanges) -> dict[str, dict[str, list[float]]]:
    """For a file; `from_json` is the way back."""
    return {
        str(level): {name: list(ends) for name, ends in of.items()} for level, of in ranges.items()
    }


def from_json(data: Mapping[str, Mapping[str, Sequence[float]]]) -> AllRanges:
    """See `as_json`."""
    return {
        float(level): {name: (ends[0], ends[1]) for name, ends in of.items()}
        for level, of in data.items()
    }
