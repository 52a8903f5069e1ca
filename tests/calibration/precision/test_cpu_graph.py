import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from pcsr.calibration.precision.codes import Code
from pcsr.calibration.precision.cpu_graph import cpu_graph
from pcsr.export.graphs.join_splitting import merge_joins, split_joins
from pcsr.export.graphs.layers import Layers, dense

from .nets import Array, Net, image, kinds, ranges_of, run, values


def stored(x: Array, least: float, most: float) -> Array:
    """What is left of values in uint8."""
    code = Code.of(least, most)
    codes = np.clip(np.rint(x / code.scale) + int(code.zero), 0, 255)
    kept: Array = ((codes - int(code.zero)) * code.scale).astype(np.float32)
    return kept


def rounded_weights(weight: Array) -> Array:
    steps = np.abs(weight).reshape(len(weight), -1).max(axis=1) / 127
    steps = steps[:, None, None, None]
    rounded: Array = (np.rint(weight / steps) * steps).astype(np.float32)
    return rounded


def with_weight(model: onnx.ModelProto, name: str, change: Array) -> onnx.ModelProto:
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    for weight in changed.graph.initializer:
        if weight.name == name:
            weight.CopyFrom(numpy_helper.from_array(change, name))
    return changed


def one_layer(group: int, size: int) -> onnx.ModelProto:
    net = Net().conv("image", "a", 3).conv("a", "b", size=size, group=group).add("Relu", ["b"], "r")
    return net.conv("r", "out", outputs=3).build()


@pytest.mark.parametrize(("group", "size"), [(1, 3), (4, 3), (1, 1), (2, 1)])
def test_a_layer_computes_what_its_codes_say(group: int, size: int) -> None:
    """Conv + ReLU on stored input, with rounded weights, stored again; borders included."""
    model, x = one_layer(group, size), image()
    ranges = ranges_of(model, x)
    weight = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}["b.w"]
    rounded = with_weight(model, "b.w", rounded_weights(weight))
    whole = onnx.utils.Extractor(onnx.shape_inference.infer_shapes(rounded))
    a = stored(values(model, ["a"], x)["a"], *ranges["a"])
    r = run_from(whole.extract_model(["a"], ["r"]), "a", a)
    expected = np.clip(np.rint(r * 255 / ranges["r"][1]), 0, 255).transpose(0, 2, 3, 1)
    found = values(cpu_graph(model, ranges, ["node_b"]), ["r:u8"], x)["r:u8"]
    difference = np.abs(found - expected)
    assert difference.max() <= 1  # ties that fall to the other side
    assert (difference > 0).mean() < 0.02
    assert len(np.unique(found)) > 100


def run_from(model: onnx.ModelProto, name: str, x: Array) -> Array:
    import onnxruntime as ort

    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found: Array = session.run(None, {name: x})[0]
    return found


def joined(factor: float) -> onnx.ModelProto:
    """A 1x1 convolution over parts of very different ranges, one of them signed."""
    net = Net().conv("image", "a", 3).conv("a", "b", gain=factor).add("Relu", ["b"], "r")
    net.add("Concat", ["a", "r"], "j", axis=1).conv("j", "c", inputs=16, size=1)
    return net.add("Relu", ["c"], "d").conv("d", "out", outputs=3).build()


def test_parts_of_a_join_keep_scales_of_their_own() -> None:
    model, x = joined(100.0), image()
    ranges = ranges_of(model, x)
    both = run(cpu_graph(model, ranges, ["node_b", "node_c"]), x)
    expected = run(model, x)
    assert np.abs(both - expected).max() < 0.05 * np.abs(expected).max()
    one_scale = dict(ranges) | dict.fromkeys(("a", "r"), ranges["j"])
    worse = run(cpu_graph(model, one_scale, ["node_b", "node_c"]), x)
    assert np.mean((worse - expected) ** 2) > 2 * np.mean((both - expected) ** 2)


def test_joined_bytes_are_not_requantised() -> None:
    model, x = joined(1.0), image()
    found = kinds(cpu_graph(model, ranges_of(model, x), ["node_b", "node_c"]))
    assert found["Concat"] == 1
    assert "QLinearConcat" not in found


def test_a_padded_reader_gets_a_join_in_one_scale() -> None:
    net = Net().conv("image", "a", 3).conv("a", "b").add("Concat", ["a", "b"], "j", axis=1)
    model = net.conv("j", "c", inputs=16).conv("c", "out", outputs=3).build()
    x = image()
    quantised = cpu_graph(model, ranges_of(model, x), ["node_b", "node_c"])
    assert kinds(quantised)["QLinearConcat"] == 1
    expected = run(model, x)
    assert np.abs(run(quantised, x) - expected).max() < 0.05 * np.abs(expected).max()


def test_a_join_of_split_channels() -> None:
    """As IMDN has them."""
    net = Net().conv("image", "a", 3).conv("a", "b").add("Relu", ["b"], "r").halve("r", "k", "p")
    net.conv("p", "c", inputs=4, outputs=4).add("Concat", ["k", "c"], "j", axis=1)
    model, x = net.conv("j", "d", size=1).conv("d", "out", outputs=3).build(), image()
    found = run(cpu_graph(model, ranges_of(model, x), ["node_b", "node_c", "node_d"]), x)
    expected = run(model, x)
    assert 0 < np.abs(found - expected).max() < 0.05 * np.abs(expected).max()


def residual() -> onnx.ModelProto:
    net = Net().conv("image", "a", 3).conv("a", "b").add("Add", ["a", "b"], "s")
    net.conv("s", "c").add("Add", ["s", "c"], "t")
    return net.conv("t", "out", outputs=3).build()


def test_sums_of_a_trunk_stay_float32() -> None:
    """What a sum hands to the next one is not stored in 8 bit: a constant far above its range would
    be cut off.
    """
    model, x = residual(), image()
    ranges = ranges_of(model, x)
    quantised = cpu_graph(model, ranges, ["node_b", "node_c"])
    assert kinds(quantised)["Add"] == 2
    assert "QLinearAdd" not in kinds(quantised)
    ranges["s"] = (ranges["s"][0] / 8, ranges["s"][1] / 8)
    narrow = cpu_graph(model, ranges, ["node_b", "node_c"])
    found = values(narrow, ["t:nhwc", "c:nhwc"], x)
    trunk = (found["t:nhwc"] - found["c:nhwc"]).transpose(0, 3, 1, 2)
    b = stored(values(model, ["b"], x)["b"], *ranges["b"])
    expected = values(model, ["a"], x)["a"] + b
    assert np.abs(trunk - expected).max() < 0.05  # the cut-off sum differs by more than 1
    assert np.abs(expected).max() > 1


def test_a_sum_that_only_quantised_layers_read_is_one_of_codes() -> None:
    net = Net().conv("image", "z", 3).conv("z", "a").add("Relu", ["a"], "ra")
    net.conv("ra", "b").add("Add", ["b", "ra"], "s").add("Relu", ["s"], "rs").conv("rs", "c")
    model, x = net.conv("c", "out", outputs=3).build(), image()
    quantised = cpu_graph(model, ranges_of(model, x), ["node_a", "node_b", "node_c"])
    assert kinds(quantised)["QLinearAdd"] == 1
    assert "Relu" not in kinds(quantised)
    expected = run(model, x)
    assert np.abs(run(quantised, x) - expected).max() < 0.05 * np.abs(expected).max()


def test_only_chosen_layers_are_quantised() -> None:
    model, x = residual(), image()
    found = kinds(cpu_graph(model, ranges_of(model, x), ["node_c"]))
    assert (found["QLinearConv"], found["Conv"]) == (1, 3)
    assert "QLinearConv" not in kinds(cpu_graph(model, ranges_of(model, x), []))


@pytest.mark.parametrize("kind", ["LeakyRelu", "Sigmoid"])
def test_other_activations_compute_in_float32(kind: str) -> None:
    net = Net().conv("image", "a", 3).conv("a", "b").add(kind, ["b"], "r").conv("r", "c")
    model, x = net.conv("c", "out", outputs=3).build(), image()
    found = run(cpu_graph(model, ranges_of(model, x), ["node_b", "node_c"]), x)
    expected = run(model, x)
    assert 0 < np.abs(found - expected).max() < 0.05 * np.abs(expected).max()


def test_a_channel_without_weights_keeps_its_bias() -> None:
    """Padded channels have zero weights; their scale must not overflow the integer bias."""
    net = Net().conv("image", "a", 3).conv("a", "b").change("b.w", 0.0).change("b.b", 100.0)
    model, x = net.conv("b", "out", outputs=3).build(), image()
    found = run(cpu_graph(model, ranges_of(model, x), ["node_b"]), x)
    expected = run(model, x)
    assert np.abs(found - expected).max() < 0.02 * np.abs(expected).max()


def test_dense_weights_of_groups() -> None:
    weight = np.arange(1, 9, dtype=np.float32).reshape(4, 2, 1, 1)
    expected = [[1, 2, 0, 0], [3, 4, 0, 0], [0, 0, 5, 6], [0, 0, 7, 8]]
    assert dense(weight, 2)[:, :, 0, 0].tolist() == expected


@pytest.mark.parametrize("has_bias", [True, False])
def test_split_joins_are_joined_again(has_bias: bool) -> None:
    """The exporter's rewrite for float32 is undone, exactly."""
    net = Net().conv("image", "a", 3).conv("a", "b").add("Concat", ["a", "b"], "j", axis=1)
    net.conv("b", "c").add("Concat", ["j", "c"], "k", axis=1).conv("k", "d", inputs=24, size=1)
    model, x = net.conv("d", "out", outputs=3).build(), image()
    if not has_bias:
        del next(node for node in model.graph.node if node.name == "node_d").input[2:]
    split = split_joins(model)
    assert len(Layers(split).convolutions) == len(Layers(model).convolutions) + 1
    again = merge_joins(split)
    names = [node.name for node in Layers(again).convolutions]
    assert names == [node.name for node in Layers(model).convolutions]
    np.testing.assert_allclose(run(again, x), run(model, x), atol=1e-5)


def test_sums_that_are_no_split_join_stay() -> None:
    model = residual()
    assert kinds(merge_joins(model)) == kinds(model)
