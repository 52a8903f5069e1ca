"""Numbers of quantised graphs that no result would show: one line that names the weight."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from pcsr.calibration.precision.cpu_graph import cpu_graph
from pcsr.calibration.precision.tensorrt_graph import tensorrt_graph
from pcsr.reading.graph import read_graph_shapes
from pcsr.reading.quantised import check_quantised
from tests.calibration.precision.nets import Net, image, ranges_of


def network() -> onnx.ModelProto:
    """With a sum and a padded join of codes, and layers of float32."""
    net = Net().conv("image", "z", 3).conv("z", "a").add("Relu", ["a"], "ra").conv("ra", "b")
    net.add("Add", ["b", "ra"], "s").conv("s", "c").add("Concat", ["c", "s"], "j", axis=1)
    return net.conv("j", "d", inputs=16).conv("d", "out", outputs=3, size=1).build()


def quantised(kind: str) -> onnx.ModelProto:
    model, chosen = network(), [f"node_{name}" for name in "abcd"]
    ranges = ranges_of(model, image())
    write: dict[str, Callable[[], onnx.ModelProto]] = {
        "int8-cpu": lambda: cpu_graph(model, ranges, chosen),
        "int8": lambda: tensorrt_graph(model, ranges, chosen, "int8"),
    }
    return write[kind]()


def check(data: bytes) -> None:
    check_quantised(data, read_graph_shapes(data).nodes)


def spoiled(model: onnx.ModelProto, name: str, value: float) -> bytes:
    """With one number of a weight in place of another."""
    (tensor,) = [one for one in model.graph.initializer if one.name == name]
    values = np.array(numpy_helper.to_array(tensor))
    values.reshape(-1)[-1] = value
    tensor.CopyFrom(numpy_helper.from_array(values, name))
    data: bytes = model.SerializeToString()
    return data


FLOATS = {
    "first layer": ("int8-cpu", "z.w"),
    "first bias": ("int8-cpu", "z.b"),
    "last product": ("int8-cpu", "out:w"),
    "last bias": ("int8-cpu", "out:bias"),
    "float32 bias": ("int8", "a_rounded_bias"),
}
SCALES = {
    "QuantizeLinear": ("int8-cpu", "z:scale"),
    "input of QLinearConv": ("int8-cpu", "a:x_scale"),
    "weights of QLinearConv": ("int8-cpu", "a:w_scale"),
    "output of QLinearConv": ("int8-cpu", "ra:scale"),
    "QLinearAdd": ("int8-cpu", "s:scale"),
    "QLinearConcat": ("int8-cpu", "j:scale"),
    "Q/DQ": ("int8", "z_scale"),
}


@pytest.mark.parametrize("kind", ["int8", "int8-cpu"])
def test_what_the_calibration_writes_is_taken(kind: str) -> None:
    check(quantised(kind).SerializeToString())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("case", FLOATS | SCALES)
def test_no_number_is_infinite(case: str, value: float) -> None:
    kind, name = (FLOATS | SCALES)[case]
    with pytest.raises(ValueError, match=f"weight '{name}' holds NaN or infinite values$"):
        check(spoiled(quantised(kind), name, value))


@pytest.mark.parametrize("value", [0.0, -0.0, -0.01])
@pytest.mark.parametrize("case", SCALES)
def test_scales_are_positive(case: str, value: float) -> None:
    kind, name = SCALES[case]
    with pytest.raises(ValueError, match=f"the scale '{name}' is not positive$"):
        check(spoiled(quantised(kind), name, value))


@pytest.mark.parametrize("case", FLOATS)
def test_other_numbers_may_be_zero_or_negative(case: str) -> None:
    kind, name = FLOATS[case]
    for value in (0.0, -3.0):
        check(spoiled(quantised(kind), name, value))
