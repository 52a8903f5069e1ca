"""The way from an image to the convolution that reads it: less its mean, and in another type."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from pcsr.runtime.torch_backend.graph import Node, OperatorGraph
from pcsr.runtime.torch_backend.operators import convolution_options

MOST_CHANNELS, MOST_OUTPUTS, SIDES = 4, 128, (3, 5, 7)
CASTS = {torch.float32: 1, torch.float16: 10, torch.bfloat16: 16}  # ONNX's numbers


@dataclass(frozen=True)
class ImageSource:
    """Describes what a convolution reads."""

    name: str
    """The image."""
    mean: str
    """The constant that is subtracted from it, or ""."""
    nodes: tuple[Node, ...]
    """The operators in between, in their order: a Sub, a Div by 1, a Cast, or none of them."""
    is_cast: bool

    def dtype(self, inside: torch.dtype) -> torch.dtype:
        """Gives the type of the image, where `inside` is that of the convolution."""
        return torch.float32 if self.is_cast else inside


def reads_image(conv: Node, weight: Tensor) -> bool:
    """Says whether a Conv of this weight [O, C, side, side] has few channels, a window of a usual
    side, stride 1, and keeps the size.
    """
    outputs, channels, *sides = weight.shape
    stride, dilation, pads = convolution_options(conv)
    side = sides[0]
    is_plain = stride == (1, 1) == dilation and conv.attributes.get("group", 1) == 1
    is_square = side in SIDES and sides == [side, side] and set(pads) == {side // 2}
    return is_plain and is_square and channels <= MOST_CHANNELS and outputs <= MOST_OUTPUTS


def source_of(graph: OperatorGraph, made_by: Mapping[str, Node], conv: Node) -> ImageSource:
    """Follows a Conv's input back to the image. made_by: the node of each value."""
    name, nodes, mean, known = conv.inputs[0], list[Node](), "", graph.constants
    weight = known[conv.inputs[1]]

    def before(op: str) -> Node | None:
        node = made_by.get(name)
        return node if node is not None and node.op == op else None

    cast = before("Cast")
    if cast is not None and cast.attributes["to"] == CASTS.get(weight.dtype):
        name, nodes = cast.inputs[0], [cast]
    ones = before("Div")
    if ones is not None and ones.inputs[1] in known and bool((known[ones.inputs[1]] == 1).all()):
        name, nodes = ones.inputs[0], [ones, *nodes]
    less = before("Sub")
    if less is not None and _is_per_channel(known.get(less.inputs[1]), weight.shape[1]):
        name, nodes = less.inputs[0], [less, *nodes]
        mean = less.inputs[1] if bool(known[less.inputs[1]].any()) else ""
    return ImageSource(name, mean, tuple(nodes), cast in nodes)


def _is_per_channel(value: Tensor | None, channels: int) -> bool:
    return value is not None and [*value.shape[-3:]] == [channels, 1, 1] == [value.numel(), 1, 1]
