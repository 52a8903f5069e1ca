import numpy as np
import onnx
import pytest

from pcsr.calibration.precision.weights.sums import sums_as_convolutions
from tests.calibration.precision.nets import Net, image, kinds, run


def residual(size: int = 1, group: int = 1, swapped: bool = False) -> Net:
    net = Net().conv("image", "a", 3).conv("a", "b").add("Relu", ["b"], "r")
    net.conv("r", "c", size=size, group=group)
    return net.add("Add", ["a", "c"] if swapped else ["c", "a"], "s").add("Relu", ["s"], "t")


@pytest.mark.parametrize("swapped", [False, True])
def test_a_sum_becomes_part_of_its_convolution(swapped: bool) -> None:
    model = residual(swapped=swapped).conv("t", "out", outputs=3).build()
    found = sums_as_convolutions(model)
    onnx.checker.check_model(found)
    assert kinds(found) == {"Conv": 4, "Relu": 2, "Concat": 1}
    np.testing.assert_allclose(run(found, image()), run(model, image()), atol=1e-5)


@pytest.mark.parametrize(("size", "group"), [(3, 1), (1, 2)])
def test_other_convolutions_keep_their_sums(size: int, group: int) -> None:
    model = residual(size, group).conv("t", "out", outputs=3).build()
    assert kinds(sums_as_convolutions(model)) == kinds(model)


def test_what_others_read_stays() -> None:
    model = residual().add("Add", ["t", "c"], "u").conv("u", "out", outputs=3).build()
    assert kinds(sums_as_convolutions(model)) == kinds(model)


def test_a_tensor_twice_is_no_sum_of_two() -> None:
    net = Net().conv("image", "a", 3).conv("a", "b", size=1).add("Add", ["b", "b"], "s")
    model = net.conv("s", "out", outputs=3).build()
    assert kinds(sums_as_convolutions(model)) == kinds(model)


def test_both_sides_may_be_such_convolutions() -> None:
    net = Net().conv("image", "a", 3).conv("a", "b", size=1).conv("a", "c", size=1)
    model = net.add("Add", ["b", "c"], "s").conv("s", "out", outputs=3).build()
    found = sums_as_convolutions(model)
    assert kinds(found) == {"Conv": 4, "Concat": 1}
    np.testing.assert_allclose(run(found, image()), run(model, image()), atol=1e-5)
