"""What a graph may take by its role: one for images, or one for rows of pixels."""

from .graph_shapes import Estimate, GraphShapes, Limits

IMAGE_LIMITS = Limits(values=2**19, macs=2**26, tensor=2**16, least_pixels=512)
ROW_LIMITS = Limits(values=2**14, macs=2**22, tensor=2**13, least_pixels=64)
ROW_OPERATORS = {"Add", "Cast", "Constant", "Gather", "Gemm", "Identity", "MatMul", "Mul", "Relu"}
# What these take grows with the rows and the pixels: two sizes speak for all.
ROW_SIZES = (64, 2**20)


def estimate_image(shapes: GraphShapes, size: tuple[int, int]) -> Estimate:
    """Gives what a graph of images takes for one of (height, width).

    Raises:
        ValueError: it does not fit, or is too much work.
    """
    if shapes.inputs != ("image",):
        raise ValueError(f"its inputs are {', '.join(shapes.inputs):.80!a} instead of image")
    pixels = size[0] * size[1]
    return shapes.estimate({"image": (1, 3, *size)}, pixels, IMAGE_LIMITS)


def check_rows(shapes: GraphShapes, width: int, output: str, values: int) -> None:
    """Checks a graph of rows: features [P, width] to `output` [N, values].

    Raises:
        ValueError: it does not fit, or is too much work.
    """
    if found := {node.operator for node in shapes.nodes} - ROW_OPERATORS:
        raise ValueError(f"it has the operator {min(found)}, which graphs of rows do not have")
    if shapes.outputs != (output,):
        raise ValueError(f"its outputs are {', '.join(shapes.outputs):.80!a} instead of {output}")
    for size in ROW_SIZES:
        inputs = {"features": (size, width), "index": (size,), "offset": (size, 2), "cell": (2,)}
        if shapes.inputs != tuple(inputs):
            raise ValueError(f"its inputs are {', '.join(shapes.inputs):.80!a}")
        found_shape = shapes.estimate(inputs, size, ROW_LIMITS).outputs[output]
        if found_shape != (size, values):
            raise ValueError(f"its output has the shape {found_shape} instead of {(size, values)}")
