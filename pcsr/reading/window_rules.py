"""The operators that look at pixels and their neighbours."""

import math
from collections.abc import Sequence

import numpy as np

from .shapes import Computation, Inputs, Rule, Value, given

LARGEST_WINDOW = 64  # side of a kernel, in pixels
LARGEST_STEP = 64  # stride, dilation, factor


def _window(node: Computation, kernel: Sequence[int]) -> tuple[list[int], list[int], list[int]]:
    """Gives strides, dilations and pads (begins, then ends) of a kernel over height and width."""
    a = node.attributes
    if a.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID") or a.get("ceil_mode", 0):
        raise ValueError("pads that follow from the size are not known here")
    if list(a.get("kernel_shape", kernel)) != list(kernel) or len(kernel) != 2:
        raise ValueError(f"a kernel of {list(kernel)}")
    strides, dilations = list(a.get("strides", (1, 1))), list(a.get("dilations", (1, 1)))
    pads = list(a.get("pads", (0, 0, 0, 0)))
    lengths = len(strides), len(dilations), len(pads)
    if lengths != (2, 2, 4) or not 1 <= min(kernel) <= max(kernel) <= LARGEST_WINDOW:
        raise ValueError(f"a kernel of {list(kernel)}")
    steps = (*strides, *dilations)
    if not (1 <= min(steps) <= max(steps) <= LARGEST_STEP):
        raise ValueError("strides or dilations out of range")
    if not (0 <= min(pads) <= max(pads) <= LARGEST_STEP * LARGEST_WINDOW):
        raise ValueError("pads out of range")
    return strides, dilations, pads


def _slid(node: Computation, size: Sequence[int], kernel: Sequence[int]) -> list[int]:
    """Gives how many places a kernel takes on an image of (height, width)."""
    strides, dilations, pads = _window(node, kernel)
    found = []
    for axis in (0, 1):
        room = size[axis] + pads[axis] + pads[axis + 2] - dilations[axis] * (kernel[axis] - 1) - 1
        if room < 0:
            raise ValueError("an image smaller than the kernel")
        found.append(room // strides[axis] + 1)
    return found


def _conv(node: Computation, inputs: Inputs, last: bool = False) -> tuple[list[Value], int]:
    x, weight = given(inputs)[:2]
    n, *size = x.shape
    depth = size.pop() if last else size.pop(0)
    outputs, per_group, *kernel = weight.shape
    groups = node.attributes.get("group", 1)
    if groups < 1 or depth != per_group * groups or outputs % groups:
        raise ValueError(f"{depth} channels for weights of {weight.shape}")
    if len(inputs) > 2 and not last and inputs[2] and inputs[2].shape != (outputs,):
        raise ValueError("biases of another number")
    height, width = _slid(node, size, kernel)
    shape = (n, height, width, outputs) if last else (n, outputs, height, width)
    return [Value(shape)], math.prod(shape) * _width(per_group) * math.prod(kernel)


def _width(per_group: int) -> int:
    """Counts the channels that a group of a convolution takes the time of: few take that of 8."""
    return max(8, per_group)


def _qlinear_conv(node: Computation, inputs: Inputs) -> tuple[list[Value], int]:
    last = bool(node.attributes.get("channels_last", 0))
    x, weight = inputs[0], inputs[3]
    return _conv(node, [x, weight, None, *inputs[8:9]], last)


def _conv_transpose(node: Computation, inputs: Inputs) -> tuple[list[Value], int]:
    x, weight = given(inputs)[:2]
    n, depth, *size = x.shape
    inner, per_group, *kernel = weight.shape
    groups = node.attributes.get("group", 1)
    strides, dilations, pads = _window(node, kernel)
    extra = list(node.attributes.get("output_padding", (0, 0)))
    if "output_shape" in node.attributes or groups < 1 or inner != depth or depth % groups:
        raise ValueError(f"{depth} channels for weights of {weight.shape}")
    if len(extra) != 2 or not 0 <= min(extra) <= max(extra) < LARGEST_STEP:
        raise ValueError("output padding out of range")
    if len(size) != 2:
        raise ValueError("not an image")
    found = [
        strides[i] * (size[i] - 1)
        + extra[i]
        + dilations[i] * (kernel[i] - 1)
        + 1
        - pads[i]
        - pads[i + 2]
        for i in (0, 1)
    ]
    shape = (n, per_group * groups, *found)
    return [Value(shape)], x.count * _width(per_group) * math.prod(kernel) + math.prod(shape)


def _global_pool(_node: Computation, inputs: Inputs) -> tuple[list[Value], int]:
    x = given(inputs)[0]
    return [Value((*x.shape[:2], *(1,) * (len(x.shape) - 2)))], x.count


def _max_pool(node: Computation, inputs: Inputs) -> tuple[list[Value], int]:
    (x,), kernel = given(inputs), node.attributes["kernel_shape"]
    if len(node.outputs) != 1 or node.attributes.get("storage_order", 0):
        raise ValueError("the places of the largest values are not known here")
    n, depth, *size = x.shape
    shape = (n, depth, *_slid(node, size, kernel))
    return [Value(shape)], math.prod(shape) * math.prod(kernel)


def _depth_to_space(node: Computation, inputs: Inputs) -> tuple[list[Value], int]:
    (n, depth, height, width), side = given(inputs)[0].shape, node.attributes["blocksize"]
    if side < 1 or depth % side**2:
        raise ValueError(f"{depth} channels and blocks of {side}")
    return [Value((n, depth // side**2, height * side, width * side))], 0


def _space_to_depth(node: Computation, inputs: Inputs) -> tuple[list[Value], int]:
    (n, depth, height, width), side = given(inputs)[0].shape, node.attributes["blocksize"]
    if side < 1 or height % side or width % side:
        raise ValueError(f"blocks of {side} in {height}x{width}")
    return [Value((n, depth * side**2, height // side, width // side))], 0


def _resize(_node: Computation, inputs: Inputs) -> tuple[list[Value], int]:
    x, _roi, scales, sizes = [*inputs, None, None, None][:4]
    if x is None or "axes" in _node.attributes:
        raise ValueError("along some axes")
    if _node.attributes.get("keep_aspect_ratio_policy", b"stretch") != b"stretch":
        raise ValueError("by another policy")
    if scales is not None and scales.count:
        factors = [] if scales.known is None else [*scales.known.reshape(-1).astype(np.float32)]
        if len(factors) != len(x.shape) or not all(0 < f <= LARGEST_STEP for f in factors):
            raise ValueError(f"by {factors}")
        shape = tuple(
            math.floor(np.float32(side) * f) for side, f in zip(x.shape, factors, strict=True)
        )
    else:
        shape = tuple(sizes.integers()) if sizes else ()
        if len(shape) != len(x.shape):
            raise ValueError("to no size")
    return [Value(shape)], 16 * (math.prod(shape) + x.count)


def _pad(_node: Computation, inputs: Inputs) -> tuple[list[Value], int]:
    x, pads = inputs[:2]
    if x is None or pads is None or len(given(inputs[3:])):
        raise ValueError("along some axes")
    around, rank = pads.integers(), len(x.shape)
    if len(around) != 2 * rank or not all(0 <= abs(p) <= LARGEST_STEP for p in around):
        raise ValueError(f"by {around}")
    shape = tuple(side + around[i] + around[i + rank] for i, side in enumerate(x.shape))
    return [Value(shape)], math.prod(shape)


WINDOW_RULES: dict[str, Rule] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "GlobalAveragePool": _global_pool,
    "MaxPool": _max_pool,
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
    "Resize": _resize,
    "Pad": _pad,
    "com.microsoft::QLinearConv": _qlinear_conv,
}
