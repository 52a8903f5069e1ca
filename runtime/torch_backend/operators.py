"""ONNX operators become functions of PyTorch tensors.

OPERATORS maps an operator to a maker: node -> function of the node's inputs (None where an optional
input is absent). A name that ends in _ overwrites its first input. SHAPED_BY_INPUTS are those of
which all inputs but the first shape the work, and are on the CPU: reading them waits for no GPU.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from . import shape_operators as shaping
from .arithmetic import searched
from .graph import Node
from .shape_operators import Function

Maker = Callable[[Node], Function]

SHAPED_BY_INPUTS = frozenset(
    {"Clip", "Expand", "Pad", "ReduceL2", "ReduceMean", "Reshape", "Resize", "Slice", "Split"}
    | {"Squeeze", "Unsqueeze"}
)


def function_of(node: Node) -> Function:
    """Makes the function of a node.

    Raises:
        BackendError: the operator, or this use of it, is not known.
    """
    if node.op not in OPERATORS:
        node.refuse(f"the ONNX operator {node.op}")
    return OPERATORS[node.op](node)


def convolution_options(node: Node) -> tuple[tuple[int, ...], ...]:
    """Gives (stride, dilation, padding (top, left, bottom, right)) of a Conv or ConvTranspose."""
    node.only("auto_pad", "NOTSET", "VALID")
    kernel = node.attributes.get("kernel_shape", (1, 1))
    if len(kernel) != 2:
        node.refuse(f"{node.op} in {len(kernel)} dimensions")
    defaults = {"strides": (1, 1), "dilations": (1, 1), "pads": (0, 0, 0, 0)}
    return tuple(tuple(node.attributes.get(name, least)) for name, least in defaults.items())


def _always(function: Function) -> Maker:
    return lambda _node: function


def _conv(node: Node) -> Function:
    stride, dilation, (top, left, bottom, right) = convolution_options(node)
    groups = node.attributes.get("group", 1)
    uneven = (top, left) != (bottom, right)
    padding = (0, 0) if uneven else (top, left)

    def run(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        x = F.pad(x, (left, right, top, bottom)) if uneven else x
        return F.conv2d(x, weight, bias, stride, padding, dilation, groups)

    return run


def _conv_transpose(node: Node) -> Function:
    stride, dilation, (top, left, bottom, right) = convolution_options(node)
    groups = node.attributes.get("group", 1)
    extra = tuple(node.attributes.get("output_padding", (0, 0)))
    if (top, left) != (bottom, right) or "output_shape" in node.attributes:
        node.refuse("ConvTranspose with uneven pads or an output_shape")

    def run(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        with searched(x):
            padding = (top, left)
            return F.conv_transpose2d(x, weight, bias, stride, padding, extra, groups, dilation)

    return run


def _leaky_relu(node: Node) -> Function:
    slope, is_in_place = node.attributes.get("alpha", 0.01), node.op.endswith("_")
    return lambda x: F.leaky_relu(x, slope, is_in_place)


def _prelu(x: Tensor, slope: Tensor) -> Tensor:
    per_channel = slope.ndim + 1 == x.ndim and slope.numel() == slope.shape[0] == x.shape[1]
    if per_channel or slope.numel() == 1:
        return F.prelu(x, slope.reshape(-1))
    return torch.where(x < 0, x * slope, x)


def _add_(x: Tensor, y: Tensor) -> Tensor:
    return x.add_(y) if x.shape == y.shape and x.dtype == y.dtype else x + y


def _div(x: Tensor, y: Tensor) -> Tensor:
    return torch.div(x, y, rounding_mode=None if x.is_floating_point() else "trunc")


def _gemm(node: Node) -> Function:
    alpha, beta = (node.attributes.get(name, 1.0) for name in ("alpha", "beta"))
    a_turned, b_turned = (node.attributes.get(name, 0) for name in ("transA", "transB"))

    def run(a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
        a, b = (a.t() if a_turned else a), (b.t() if b_turned else b)
        if c is None:
            return torch.mm(a, b) if alpha == 1 else torch.mm(a, b) * alpha
        return torch.addmm(c, a, b, beta=beta, alpha=alpha)

    return run


def _resize(node: Node) -> Function:
    node.only("mode", "linear", "nearest")
    places = ["half_pixel", "pytorch_half_pixel"]
    mode = "bilinear"
    if node.attributes.get("mode", "nearest") == "nearest":
        mode, places = "nearest", ["asymmetric"]
        if node.attributes.get("nearest_mode", "round_prefer_floor") != "floor":
            node.refuse("Resize to nearest pixels that are not those before")
    place = node.attributes.get("coordinate_transformation_mode", "half_pixel")
    if place not in places:
        node.refuse(f"Resize with mode {mode} and coordinate_transformation_mode = {place}")
    for name in ("antialias", "exclude_outside"):
        node.only(name, 0)
    if "axes" in node.attributes:
        node.refuse("Resize with axes")

    def run(x: Tensor, _roi: Any, scales: Any = None, sizes: Any = None) -> Tensor:  # noqa: ANN401
        if scales is None or scales.numel() == 0:
            *kept, height, width = sizes.tolist()
            if kept == [*x.shape[:2]]:
                return F.interpolate(x, size=(height, width), mode=mode)
        elif scales.tolist()[:2] == [1, 1]:
            return F.interpolate(x, scale_factor=scales.tolist()[2:], mode=mode)
        return node.refuse("Resize of anything but height and width")

    return run


def _gelu(node: Node) -> Function:
    node.only("approximate", "none", "tanh")
    approximate = node.attributes.get("approximate", "none")
    return lambda x: F.gelu(x, approximate=approximate)


def _instance_normalization(node: Node) -> Function:
    epsilon = node.attributes.get("epsilon", 1e-5)
    return lambda x, scale, bias: F.instance_norm(x, weight=scale, bias=bias, eps=epsilon)


def _reduced(function: Function) -> Maker:
    """function: reduces a tensor along some axes, which it may keep."""

    def make(node: Node) -> Function:
        keep = bool(node.attributes.get("keepdims", 1))
        node.only("noop_with_empty_axes", 0)

        def run(x: Tensor, axes: Tensor | None = None) -> Tensor:
            along = shaping.axes_of(node, axes) or list(range(x.ndim))
            reduced: Tensor = function(x, dim=along, keepdim=keep)
            return reduced

        return run

    return make


def _largest(*values: Tensor) -> Tensor:
    return functools.reduce(torch.maximum, values)


def _smallest(*values: Tensor) -> Tensor:
    return functools.reduce(torch.minimum, values)


def _max_pool(node: Node) -> Function:
    stride, dilation, (top, left, bottom, right) = convolution_options(node)
    for name in ("ceil_mode", "storage_order"):
        node.only(name, 0)
    if (top, left) != (bottom, right) or len(node.outputs) > 1:
        node.refuse("MaxPool with uneven pads, or the places of the largest values")
    kernel = tuple(node.attributes["kernel_shape"])
    return lambda x: F.max_pool2d(x, kernel, stride, (top, left), dilation)


def _softmax(node: Node) -> Function:
    axis = node.attributes.get("axis", -1)
    return lambda x: F.softmax(x, axis)


def _cast(node: Node) -> Function:
    from onnx import TensorProto

    name = TensorProto.DataType.Name(node.attributes["to"]).lower()
    dtype = getattr(torch, name, None)  # PyTorch has the same names: float, double, bfloat16
    if not isinstance(dtype, torch.dtype):
        node.refuse(f"Cast to ONNX type {node.attributes['to']}")
    return lambda x: x.to(dtype)


def _clip(x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    least, most = (None if bound is None else bound.item() for bound in (low, high))
    return x if least is most is None else x.clamp(least, most)


OPERATORS: Mapping[str, Maker] = {
    "Abs": _always(torch.abs),
    "Add": _always(torch.add),
    "Add_": _always(_add_),
    "Cast": _cast,
    "Clip": _always(_clip),
    "Concat": shaping.concat,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "DepthToSpace": shaping.depth_to_space,
    "Div": _always(_div),
    "Expand": _always(shaping.expand),
    "Flatten": shaping.flatten,
    "Gather": shaping.gather,
    "Gelu": _gelu,
    "Gemm": _gemm,
    "GlobalAveragePool": _always(lambda x: x.mean((2, 3), keepdim=True)),
    "Identity": _always(lambda x: x),
    "InstanceNormalization": _instance_normalization,
    "LeakyRelu": _leaky_relu,
    "LeakyRelu_": _leaky_relu,
    "MatMul": _always(torch.matmul),
    "Max": _always(_largest),
    "MaxPool": _max_pool,
    "Min": _always(_smallest),
    "Mish": _always(F.mish),
    "Mul": _always(torch.mul),
    "PRelu": _always(_prelu),
    "Pad": shaping.pad,
    "Pow": _always(torch.pow),
    "ReduceL2": _reduced(torch.linalg.vector_norm),
    "ReduceMean": _reduced(torch.mean),
    "Relu": _always(torch.relu),
    "Relu_": _always(torch.relu_),
    "Reshape": shaping.reshape,
    "Resize": _resize,
    "Shape": shaping.shape,
    "Sigmoid": _always(torch.sigmoid),
    "Slice": shaping.slice_,
    "Softmax": _softmax,
    "Split": shaping.split,
    "Sqrt": _always(torch.sqrt),
    "Squeeze": shaping.squeeze,
    "Sub": _always(torch.sub),
    "Tanh": _always(torch.tanh),
    "Transpose": shaping.transpose,
    "Unsqueeze": shaping.unsqueeze,
}
