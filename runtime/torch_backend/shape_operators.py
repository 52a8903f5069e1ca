"""ONNX operators that move pixels without computing; operators.py describes their form."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .graph import Node

Function = Callable[..., Any]


def concat(node: Node) -> Function:
    axis = node.attributes["axis"]
    return lambda *parts: torch.cat(parts, axis)


def gather(node: Node) -> Function:
    """Indices count from the start; ONNX's negative ones are an error here."""
    axis = node.attributes.get("axis", 0)

    def run(x: Tensor, index: Tensor) -> Tensor:
        rows, start = torch.index_select(x, axis, index.reshape(-1)), axis % x.ndim
        return rows.reshape(*x.shape[:start], *index.shape, *x.shape[start + 1 :])

    return run


def depth_to_space(node: Node) -> Function:
    side = node.attributes["blocksize"]
    node.only("mode", "DCR", "CRD")
    if node.attributes.get("mode", "DCR") == "CRD":
        return lambda x: F.pixel_shuffle(x, side)

    def run(x: Tensor) -> Tensor:
        n, depth, h, w = x.shape
        blocks = x.reshape(n, side, side, depth // side**2, h, w).permute(0, 3, 4, 1, 5, 2)
        return blocks.reshape(n, -1, h * side, w * side)

    return run


def reshape(node: Node) -> Function:
    zero_is_zero = node.attributes.get("allowzero", 0)

    def run(x: Tensor, shape: Tensor) -> Tensor:
        sizes = shape.tolist()
        if not zero_is_zero:
            sizes = [size or x.shape[axis] for axis, size in enumerate(sizes)]
        return x.reshape(sizes)

    return run


def flatten(node: Node) -> Function:
    axis = node.attributes.get("axis", 1)
    return lambda x: x.reshape(x.shape[:axis].numel(), x.shape[axis:].numel())


def axes_of(node: Node, axes: Tensor | None) -> list[int] | None:
    """Gives the axes: an input since opset 13 or 18, an attribute before; None: not given."""
    return node.attributes.get("axes") if axes is None else axes.tolist()


def squeeze(node: Node) -> Function:
    def run(x: Tensor, axes: Tensor | None = None) -> Tensor:
        found = axes_of(node, axes)
        return x.squeeze() if found is None else x.squeeze(tuple(found))

    return run


def unsqueeze(node: Node) -> Function:
    def run(x: Tensor, axes: Tensor | None = None) -> Tensor:
        found = axes_of(node, axes) or []
        for axis in sorted(axis % (x.ndim + len(found)) for axis in found):
            x = x.unsqueeze(axis)
        return x

    return run


def transpose(node: Node) -> Function:
    order = node.attributes.get("perm")
    return lambda x: x.permute(order or tuple(reversed(range(x.ndim))))


def slice_(node: Node) -> Function:
    def run(x: Tensor, starts: Tensor, ends: Tensor, axes: Any = None, steps: Any = None) -> Tensor:  # noqa: ANN401
        count = starts.numel()
        along = range(count) if axes is None else axes.tolist()
        strides = [1] * count if steps is None else steps.tolist()
        if min(strides) < 1:
            node.refuse("Slice with a negative step")
        cuts = [slice(None)] * x.ndim
        for axis, *cut in zip(along, starts.tolist(), ends.tolist(), strides, strict=True):
            cuts[axis] = slice(*cut)
        return x[tuple(cuts)]

    return run


def pad(node: Node) -> Function:
    """Pads height and width; ONNX's pads are all axes' beginnings, then all ends."""
    modes = {"reflect": "reflect", "edge": "replicate", "constant": "constant"}
    node.only("mode", *modes)
    mode = modes[node.attributes.get("mode", "constant")]

    def run(x: Tensor, pads: Tensor, value: Any = None, axes: Any = None) -> Tensor:  # noqa: ANN401
        around = pads.tolist()
        outer = {*around[:2], *around[4:6]} if len(around) == 8 else {None}
        if x.ndim != 4 or outer != {0} or axes is not None or (value is not None and value.any()):
            node.refuse("Pad of anything but height and width, or with another value than 0")
        top, left, bottom, right = *around[2:4], *around[6:]
        return F.pad(x, (left, right, top, bottom), mode)

    return run


def split(node: Node) -> Function:
    axis, count = node.attributes.get("axis", 0), len(node.outputs)

    def run(x: Tensor, sizes: Tensor | None = None) -> tuple[Tensor, ...]:
        largest = -(-x.shape[axis] // count)  # the last part may be smaller
        return torch.split(x, largest if sizes is None else sizes.tolist(), axis)

    return run


def shape(node: Node) -> Function:
    start, end = node.attributes.get("start", 0), node.attributes.get("end")
    return lambda x: torch.tensor(x.shape[start:end], dtype=torch.int64, device="cpu")


def expand(x: Tensor, shape: Tensor) -> Tensor:
    return x.expand(np.broadcast_shapes(tuple(x.shape), tuple(shape.tolist())))
