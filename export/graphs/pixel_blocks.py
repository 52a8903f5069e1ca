"""Finds where a graph moves blocks of pixels into channels, as PyTorch exports it."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import onnx
from onnx import helper

from .layers import attributes
from .shape_labels import Axis, Labels

BLOCKS: tuple[Axis, ...] = ("fixed", "fixed", "h", "fixed", "w", "fixed")
ORDER = [0, 1, 3, 5, 2, 4]


def with_blocks(
    nodes: Sequence[onnx.NodeProto], labels: Mapping[str, Labels]
) -> Iterable[onnx.NodeProto]:
    """Gives the nodes with one SpaceToDepth in place of Reshape, Transpose and Reshape that do the
    same, but for the order of channels: for analysis, not to be run.
    """
    origin = {name: node for node in nodes for name in node.output}
    uses = Counter(name for node in nodes for name in node.input)
    replaced: dict[str, onnx.NodeProto] = {}
    gone: set[str] = set()
    for last in nodes:
        turned = origin.get(last.input[0]) if last.op_type == "Reshape" else None
        split = origin.get(turned.input[0]) if turned and turned.op_type == "Transpose" else None
        if turned is None or split is None or split.op_type != "Reshape":
            continue
        names = [split.input[0], split.output[0], last.output[0]]
        inner = (split.output[0], turned.output[0])
        if attributes(turned).get("perm") != ORDER or any(uses[name] != 1 for name in inner):
            continue
        if all(name in labels for name in names) and (side := _side(*(labels[n] for n in names))):
            node = helper.make_node("SpaceToDepth", names[:1], names[2:], blocksize=side)
            replaced[last.output[0]] = node
            gone |= set(inner)
    return [replaced.get(node.output[0], node) for node in nodes if node.output[0] not in gone]


def _side(image: Labels, blocks: Labels, result: Labels) -> int:
    """Gives the side of the blocks; 0 where the shapes are not those of blocks."""
    if not (image.is_image and result.is_image and blocks.axes == BLOCKS):
        return 0
    n, depth, rows, side, columns, across = blocks.shape
    fits = image.shape == (n, depth, rows * side, columns * side) and across == side
    return side if fits and result.shape == (n, depth * side**2, rows, columns) else 0
