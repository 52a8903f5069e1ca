"""What a graph may take by its role: one for images, or one for rows of pixels."""

import math
from collections.abc import Mapping

from .graph_shapes import GraphShapes, Limits
from .shapes import Shape

LEAST_PADDED = 16
IMAGE_LIMITS = Limits(values=2**19, macs=2**26, tensor=2**16, least_pixels=512)
ROW_LIMITS = Limits(values=2**14, macs=2**22, tensor=2**13, least_pixels=64)
ROW_OPERATORS = {"Abs", "Add", "Cast", "Constant", "Div", "Gather", "Gemm", "Identity", "MatMul"}
ROW_OPERATORS |= {"Mul", "Relu", "Slice"}
# What these take grows with the pixels and the rows: two sizes speak for all. They differ, so that
# one cannot stand for the other.
ROW_SIZES = ((64, 48), (2**20, 2**20 - 1))


def check_image(
    shapes: GraphShapes,
    size: tuple[int, int],
    outputs: Mapping[str, Shape],
    most_values: int,
    multiple: int = 1,
) -> None:
    """Checks a graph of images for one of (height, width).

    Args:
        outputs: the shapes that it has to give, in their order.
        most_values: how many values may be alive at one time, per pixel.
        multiple: what the graph may pad the sides to multiples of; then to LEAST_PADDED as well.

    Raises:
        ValueError: it does not fit, or takes more than it may.
    """
    if shapes.inputs != ("image",):
        raise ValueError(f"its inputs are {', '.join(shapes.inputs):.80} instead of image")
    pixels = size[0] * size[1]
    if multiple > 1:
        pixels = math.prod(max(LEAST_PADDED, -(-side // multiple) * multiple) for side in size)
    found = shapes.estimate({"image": (1, 3, *size)}, pixels, IMAGE_LIMITS)
    if found.peak > most_values * max(pixels, IMAGE_LIMITS.least_pixels):
        raise ValueError(f"it needs {found.peak} values for {pixels} pixels, more than is stated")
    if [*found.outputs.items()] != [*outputs.items()]:
        raise ValueError(
            f"for {size[0]}x{size[1]} pixels it gives {dict(found.outputs)}, expected "
            f"{dict(outputs)}"
        )


def check_rows(
    shapes: GraphShapes, width: int, output: str, values: int, neighbours: int = 1
) -> None:
    """Checks a graph of rows: features [P, width] to `output` [N, values], from so many
    neighbours of each pixel, each of which may take as much.

    Raises:
        ValueError: it does not fit, or is too much work.
    """
    if found := {node.operator for node in shapes.nodes} - ROW_OPERATORS:
        raise ValueError(f"it has the operator {min(found)}, which graphs of rows do not have")
    if shapes.outputs != (output,):
        raise ValueError(f"its outputs are {', '.join(shapes.outputs):.80!a} instead of {output}")
    limits = ROW_LIMITS.times(neighbours)
    for pixels, rows in ROW_SIZES:
        ends = (rows,) if neighbours == 1 else (rows, neighbours)
        inputs = {"features": (pixels, width), "index": ends, "offset": (*ends, 2), "cell": (2,)}
        if shapes.inputs != tuple(inputs):
            raise ValueError(f"its inputs are {', '.join(shapes.inputs):.80}")
        shape = shapes.estimate(inputs, pixels, limits).outputs[output]
        if shape != (rows, values):
            raise ValueError(f"its output has the shape {shape} instead of {(rows, values)}")
