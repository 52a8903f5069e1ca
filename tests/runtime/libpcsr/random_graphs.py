"""Random small graphs of all operators: some fit together, the others nearly."""

import random
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from pcsr.reading.shape_rules import RULES

KINDS = {
    "auto_pad": ("NOTSET", "VALID", "SAME_UPPER"),
    "keep_aspect_ratio_policy": ("stretch", "x"),
}
INTEGERS = {
    "axis": (0, 1, 2, 3, -1, -4, 4),
    "allowzero": (0, 1),
    "start": (0, 1, -2, 9),
    "end": (4, 2, -1, -9),
    "keepdims": (0, 1),
    "noop_with_empty_axes": (0, 1),
    "transA": (0, 1),
    "transB": (0, 1),
    "channels_last": (0, 1),
    "ceil_mode": (0, 0, 1),
    "storage_order": (0, 0, 1),
    "group": (1, 1, 2, 3, 0),
    "blocksize": (1, 2, 4, 0, -1),
    "to": (7, 1),
}
LISTS = {
    "kernel_shape": ((3, 3), (1, 1), (2, 3), (65, 1), (3,)),
    "strides": ((1, 1), (2, 2), (1, 3), (0, 1), (65, 1)),
    "dilations": ((1, 1), (2, 1), (0, 1)),
    "pads": ((0, 0, 0, 0), (1, 1, 1, 1), (0, 2, 1, 0), (-1, 0, 0, 0), (1, 1)),
    "output_padding": ((0, 0), (1, 1), (64, 0)),
    "perm": ((0, 1, 2, 3), (3, 2, 1, 0), (1, 0), (0, 0, 1, 2)),
}
WINDOW = ("auto_pad", "ceil_mode", "kernel_shape", "strides", "dilations", "pads")
OF = {
    "Concat": ("axis",),
    "Split": ("axis",),
    "Gather": ("axis",),
    "Flatten": ("axis",),
    "com.microsoft::QLinearConcat": ("axis",),
    "Reshape": ("allowzero",),
    "Shape": ("start", "end"),
    "ReduceMean": ("keepdims", "noop_with_empty_axes"),
    "ReduceL2": ("keepdims", "noop_with_empty_axes"),
    "Gemm": ("transA", "transB"),
    "Transpose": ("perm",),
    "Cast": ("to",),
    "DepthToSpace": ("blocksize",),
    "SpaceToDepth": ("blocksize",),
    "Resize": ("keep_aspect_ratio_policy",),
    "Conv": (*WINDOW, "group"),
    "com.microsoft::QLinearConv": (*WINDOW, "group", "channels_last"),
    "ConvTranspose": (*WINDOW, "group", "output_padding"),
    "MaxPool": (*WINDOW, "storage_order"),
}
FITTING = {"kernel": (6, 3, 3, 3), "spread": (3, 2, 2, 3), "left": (4, 3), "right": (3, 4)}
PAIRS = {
    "Conv": ("image", "kernel"),
    "ConvTranspose": ("image", "spread"),
    "Gemm": ("left", "right"),
    "MatMul": ("left", "right"),
    "Pad": ("image", "pads"),
    "Slice": ("image", "begin", "stop", "axes", "step"),
    "com.microsoft::QLinearConv": ("image", "s0", "s1", "kernel", "s0", "s1", "s0", "s1"),
}
"""Inputs that fit."""
RANGES = {
    "begin": (0, 1, -1, -3, 5, 2**62, -(2**63)),
    "stop": (2, -1, 9, 2**63 - 1, -(2**63)),
    "axes": (1, 2, 3, -1, 4),
    "step": (1, 1, 2, -1, -2, 2**62, -(2**63), 0),
}
NEEDED = {"axis", "blocksize", "to", "kernel_shape"}
SHAPES = (
    *((), (0,), (1,), (3,), (1, 1), (3, 4), (4, 3), (0, 5), (2, 0, 3), (1, 3, 1, 1)),
    *((6, 3, 3, 3), (6, 1, 1, 1), (3, 2, 2, 3), (3, 4, 1, 3), (12, 12), (1, 12, 4, 2), (2, 70)),
)
SIZES = (
    *((0,), (1,), (2,), (3,), (-1,), (2, 3), (-1, 4), (0, -1), (1, 3, -1, 1), (1, 3, 0, 0)),
    *((0, 1, 2, 3), (1, 1, 2, 2), (2**62, 4), (-(2**63),), (1, 2, 2, 2), (0, 0, 1, 1) * 2),
)


def random_graph(rng: random.Random) -> bytes:
    """An ONNX file of up to six nodes."""
    weights = _weights(rng)
    names, nodes = ["image", *weights], []
    for number in range(rng.choice((1, 2, 3, 6))):
        node = _node(rng, names, number)
        nodes.append(node)
        names += [*node.output] * 3
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, None)
    wanted = helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, None)
    made = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "graph", [image], [wanted], made)
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
    return bytes(helper.make_model(graph, opset_imports=opsets).SerializeToString())


def _weights(rng: random.Random) -> dict[str, np.ndarray]:
    shapes, sizes = rng.sample(SHAPES, 3), rng.sample(SIZES, 4)
    weights = {f"w{i}": np.zeros(shape, np.float32) for i, shape in enumerate(shapes)}
    weights |= {f"s{i}": np.array(size, np.int64) for i, size in enumerate(sizes)}
    weights["scalar"] = np.array(rng.choice((0, 1, 2, 3, -1)), np.int64)
    factors = (1, 1, *rng.choice(((2, 2), (0.5, 2.5), (1.3333334, 3), (0, 1), (65, 1))))
    weights |= {name: np.zeros(shape, np.float32) for name, shape in FITTING.items()}
    weights |= {name: np.array(rng.choices(of, k=2)) for name, of in RANGES.items()}
    weights["pads"] = np.array((0, 0, rng.choice((1, -1)), 2, 0, 0, 3, rng.choice((0, 65))))
    return weights | {"factors": np.array(factors, np.float32)}


def _node(rng: random.Random, names: list[str], number: int) -> onnx.NodeProto:
    operator = rng.choice(sorted(RULES))
    inputs = [*_inputs(operator, rng, names)]
    if rng.random() < 0.05:
        inputs[rng.randrange(len(inputs))] = ""
    results = rng.choice((2, 3)) if operator == "Split" else 1
    domain, _, kind = operator.rpartition("::")
    outputs = [f"v{number}.{i}" for i in range(results)]
    return helper.make_node(kind, inputs, outputs, domain=domain, **_attributes(operator, rng))


def _inputs(operator: str, rng: random.Random, names: list[str]) -> list[str]:
    sizes = [name for name in names if name[0] == "s"]
    pixels = [name for name in names if name[0] in "iv"]
    first = rng.choice(pixels if rng.random() < 0.7 else names)
    if operator in PAIRS and rng.random() < 0.7:
        others = [rng.choice(pixels) if name == "image" else name for name in PAIRS[operator]]
        return others if operator == "Slice" else [*PAIRS[operator]]
    if operator in ("Reshape", "Expand", "Unsqueeze", "Squeeze", "Pad", "ReduceMean", "ReduceL2"):
        return [first, rng.choice(sizes)]
    if operator == "Slice":
        return [first, *(rng.choice(sizes) for _ in range(rng.choice((2, 3, 3, 4))))]
    if operator == "Resize":
        return [first, "", *rng.choice((("factors",), ("", rng.choice(sizes))))]
    if operator == "Gather":
        return [first, rng.choice((*sizes, *names))]
    if operator == "com.microsoft::QLinearConv":
        return [first, *(["w0"] * 2), *(rng.choice(names) for _ in range(rng.choice((5, 6))))]
    if operator.startswith("com"):
        return [rng.choice(names) for _ in range(8)]
    if operator in ("Shape", "Cast", "Identity", "Flatten", "Split", "MaxPool", "Transpose"):
        return [first]
    return [first, *(rng.choice(names) for _ in range(rng.choice((0, 1, 1, 1, 2))))]


def _attributes(operator: str, rng: random.Random) -> dict[str, Any]:
    if operator == "Constant":
        kinds: tuple[dict[str, Any], ...]
        kinds = ({"value_int": 3}, {"value_ints": [1, 3, -1]}, {"value_float": 0.5}, {})
        return rng.choice((*kinds, {"value": numpy_helper.from_array(np.array([2, 1]))}))
    found: dict[str, Any] = {}
    for name in OF.get(operator, ()):
        if name in NEEDED or rng.random() < 0.3:
            choices = KINDS.get(name) or INTEGERS.get(name) or LISTS[name]
            found[name] = choices[0] if rng.random() < 0.7 else rng.choice(choices)
    return found
