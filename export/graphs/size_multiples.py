"""Lets a graph that takes only images with sides of some multiple take all: it pads the image and
cuts the result, as PaddedNetwork does.
"""

import copy
from collections.abc import Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

from pcsr.models.padded import PaddedNetwork

PREFIX = "to_multiple."


def pad_image(model: onnx.ModelProto, needs: PaddedNetwork) -> onnx.ModelProto:
    """Returns a copy of a graph image [1, C, h, w] -> [1, C, scale*h, scale*w] that takes images of
    any size: it pads them to what the network within `needs` takes.
    """
    model = copy.deepcopy(model)
    graph = model.graph
    (image,), (result,) = graph.input, graph.output
    inner, whole = f"{PREFIX}image", f"{PREFIX}result"
    for node in graph.node:
        for names, old, new in ((node.input, image.name, inner), (node.output, result.name, whole)):
            names[:] = [new if name == old else name for name in names]
    constants = {
        "last": [needs.multiple - 1],
        "multiple": [needs.multiple],
        "least": [needs.least],
        "one": [1],
        "before": [0] * 6,
        "scale": [needs.scale],
        "starts": [0, 0],
        "axes": [2, 3],
    }
    graph.initializer.extend(
        numpy_helper.from_array(np.array(values, np.int64), f"{PREFIX}{name}")
        for name, values in constants.items()
    )
    nodes = [*_padding(image.name, inner), *graph.node, *_cutting(whole, result.name)]
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    for value, factor in ((image, ""), (result, f"{needs.scale}*" if needs.scale > 1 else "")):
        for axis, side in ((2, "h"), (3, "w")):
            value.type.tensor_type.shape.dim[axis].dim_param = f"{factor}{side}"
    return model


def unpadded(model: onnx.ModelProto) -> onnx.ModelProto:
    """Returns a copy without what `pad_image` added, if it did: for images of the right sizes."""
    model = copy.deepcopy(model)
    nodes = [node for node in model.graph.node if not node.name.startswith(PREFIX)]
    if len(nodes) < len(model.graph.node):
        model.graph.input[0].name = f"{PREFIX}image"
        model.graph.output[0].name = f"{PREFIX}result"
        del model.graph.node[:]
        model.graph.node.extend(nodes)
    return model


def _padding(image: str, inner: str) -> list[onnx.NodeProto]:
    nodes = [
        _node("Add", ["size", "last"], "ceiling"),
        _node("Div", ["ceiling", "multiple"], "count"),
        _node("Mul", ["count", "multiple"], "rounded"),
        _node("Max", ["rounded", "least"], "padded_size"),
        _node("Sub", ["padded_size", "size"], "missing"),
        _node("Sub", ["size", "one"], "most"),
        _node("Min", ["missing", "most"], "mirrored"),
        _node("Sub", ["missing", "mirrored"], "repeated"),
    ]
    size = helper.make_node("Shape", [image], [f"{PREFIX}size"], f"{PREFIX}size", start=2, end=4)
    middle, pads = f"{PREFIX}mirrored_image", []
    steps = ((image, "mirrored", middle, "reflect"), (middle, "repeated", inner, "edge"))
    for source, missing, result, mode in steps:
        by, ends = f"{PREFIX}{missing}", f"{PREFIX}{missing}_pads"
        pads.append(helper.make_node("Concat", [f"{PREFIX}before", by], [ends], ends, axis=0))
        pads.append(helper.make_node("Pad", [source, ends], [result], result, mode=mode))
    return [size, *nodes, *pads]


def _cutting(whole: str, result: str) -> list[onnx.NodeProto]:
    ends = [f"{PREFIX}starts", f"{PREFIX}ends", f"{PREFIX}axes"]
    cut = helper.make_node("Slice", [whole, *ends], [result], f"{PREFIX}cut")
    return [_node("Mul", ["size", "scale"], "ends"), cut]


def _node(operator: str, inputs: Sequence[str], output: str) -> onnx.NodeProto:
    name = f"{PREFIX}{output}"
    return helper.make_node(operator, [f"{PREFIX}{one}" for one in inputs], [name], name)
