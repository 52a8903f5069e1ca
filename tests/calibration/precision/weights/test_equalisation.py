import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from pcsr.calibration.precision.ranges import LEVELS, collect_peaks, collect_ranges
from pcsr.calibration.precision.weights.equalisation import equalised, read_parts
from pcsr.export.graphs.layers import Layers
from tests.calibration.precision.nets import CHANNELS, Net, image, kinds, run, values


def uneven(net: Net, name: str) -> Net:
    """Channel 0 of a layer is a hundred times as large as the others."""
    factors = np.ones(CHANNELS)
    factors[0] = 100
    return net.scale(name, factors)


def chain() -> onnx.ModelProto:
    net = Net().conv("image", "a", 3).add("Relu", ["a"], "ra").conv("ra", "b", group=4)
    uneven(net, "a").add("Relu", ["b"], "rb").conv("rb", "c").add("Add", ["ra", "c"], "s")
    net.add("Concat", ["ra", "s"], "j", axis=1).conv("j", "d", inputs=16, size=1)
    return net.add("LeakyRelu", ["d"], "e", alpha=0.1).conv("e", "out", outputs=3).build()


def test_the_network_computes_the_same() -> None:
    model, x = chain(), image()
    found = equalised(model, collect_peaks(model, [x], 1))
    assert kinds(found) == kinds(model)
    expected = run(model, x)
    np.testing.assert_allclose(run(found, x), expected, atol=1e-5 * np.abs(expected).max())


def test_channels_come_closer_in_range() -> None:
    """Half of the way on a scale of ratios; the largest becomes 1."""
    net = uneven(Net().conv("image", "a", 3), "a").add("Relu", ["a"], "ra")
    model, x = net.conv("ra", "out", outputs=3).build(), image()
    before = collect_peaks(model, [x], 1)
    after = collect_peaks(equalised(model, before), [x], 1)
    ratios = [np.ptp(np.log(peaks["ra"])) for peaks in (before, after)]
    assert ratios[1] < 0.7 * ratios[0]
    assert after["ra"].max() == pytest.approx(1)


def test_what_other_operators_read_keeps_its_values() -> None:
    net = Net().conv("image", "a", 3).conv("a", "b").add("Sigmoid", ["b"], "c")
    model, x = uneven(net, "b").conv("c", "out", outputs=3).build(), image()
    found = equalised(model, collect_peaks(model, [x], 1))
    before, after = (values(m, ["b"], x)["b"] for m in (model, found))
    np.testing.assert_allclose(after, before, atol=1e-5 * np.abs(before).max())
    np.testing.assert_allclose(run(found, x), run(model, x), atol=1e-5)


def test_layers_that_share_weights_get_their_own() -> None:
    net = Net().conv("image", "a", 3).conv("a", "b")
    net.add("Conv", ["b", "b.w", "b.b"], "c", pads=[1] * 4)
    model, x = net.conv("c", "out", outputs=3).build(), image()
    found = equalised(model, collect_peaks(model, [x], 1))
    np.testing.assert_allclose(run(found, x), run(model, x), atol=1e-5)
    names = [node.input[1] for node in Layers(found).convolutions]
    assert len(set(names)) == 4


def test_a_channel_of_zeros_is_no_division_by_zero() -> None:
    net = Net().conv("image", "a", 3).scale("a", np.arange(CHANNELS) > 2).add("Relu", ["a"], "b")
    model, x = net.conv("b", "out", outputs=3).build(), image()
    found = equalised(model, collect_peaks(model, [x], 1))
    weights = [numpy_helper.to_array(i) for i in found.graph.initializer]
    assert all(np.isfinite(weight).all() for weight in weights)
    np.testing.assert_allclose(run(found, x), run(model, x), atol=1e-5)


def test_joined_tensors_are_read_as_their_parts() -> None:
    assert read_parts(Layers(chain())) == ["image", "ra", "rb", "s", "e"]


def test_ranges_are_those_of_all_images_and_narrower_at_lower_levels() -> None:
    model = chain()
    images = [image(33, 40, seed) for seed in (1, 2)]
    images[1][0, :, 8, 8] = 50  # one bright pixel
    found = collect_ranges(model, images, 1)
    inside = [values(model, ["s"], x)["s"] for x in images]
    widest = (min(v.min() for v in inside), max(v.max() for v in inside))
    assert found["1.0"]["s"] == pytest.approx(widest)
    spans = [found[str(level)]["s"][1] - found[str(level)]["s"][0] for level in LEVELS]
    assert spans[0] > spans[1] >= spans[2]


def test_parts_of_a_join_that_no_convolution_makes_have_ranges_too() -> None:
    """IMDN joins halves of a layer's channels; each part is stored with its own scale."""
    net = Net().conv("image", "a", 3).halve("a", "kept", "passed").conv("passed", "b", 4, 4)
    net.add("Concat", ["kept", "b"], "j", axis=1).conv("j", "out", outputs=3)
    assert {"kept", "passed", "b", "j"} <= collect_ranges(net.build(), [image()], 1)["1.0"].keys()
