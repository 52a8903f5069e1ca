"""The numbers of a quantised graph: what is not finite there becomes a code like any other, and no
result shows it.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from .shapes import Computation

SCALES: Mapping[str, Sequence[int]] = {
    "QuantizeLinear": (1,),
    "DequantizeLinear": (1,),
    "QLinearAdd": (1, 4, 6),
    "QLinearConv": (1, 4, 6),
    "QLinearConcat": range(0, 1_000, 3),
}
"""Which inputs of the quantised operators are scales."""


def check_quantised(data: bytes, nodes: Sequence[Computation]) -> None:
    """Checks the numbers of a graph that was read, of these nodes, if it is quantised.

    Raises:
        ValueError: a float is NaN or infinite, or a scale is not positive.
    """
    scales = set(_scales(nodes))
    if not scales:
        return
    import onnx

    for tensor in onnx.ModelProto.FromString(data).graph.initializer:
        if tensor.data_type not in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16):
            continue
        values = onnx.numpy_helper.to_array(tensor)
        if not np.isfinite(values).all():
            raise ValueError(f"the weight {tensor.name!a:.80} holds NaN or infinite values")
        if tensor.name in scales and not (values > 0).all():
            raise ValueError(f"the scale {tensor.name!a:.80} is not positive")


def _scales(nodes: Sequence[Computation]) -> Iterator[str]:
    for node in nodes:
        places = SCALES.get(node.operator.rpartition("::")[2], ())
        yield from (name for place, name in enumerate(node.inputs) if place in places)
