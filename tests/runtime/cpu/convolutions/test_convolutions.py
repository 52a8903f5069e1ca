"""The compiled convolutions against slow ones that round where they do, and their contracts:
results depend neither on threads nor on how an image is cut.
"""

import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest

from pcsr import Cancellation, CancelledError
from pcsr.errors import BackendError, ImageError
from pcsr.runtime.cpu.convolutions import runner as running
from pcsr.runtime.cpu.convolutions.plan import make_plan, strips_of
from pcsr.runtime.cpu.convolutions.structs import has_instructions
from tests import tolerances

from .networks import Floats, Graph, computed, expected, photo, runner_of

pytestmark = pytest.mark.skipif(
    not has_instructions(), reason="this processor has no AVX-512 with bf16"
)
SIZES = ((1, 1), (1, 40), (40, 1), (2, 3), (7, 25), (13, 101))
SHAPES = (  # inputs, outputs, kernel, groups
    (16, 16, 1, 1),
    (64, 64, 3, 4),
    (64, 52, 1, 1),
    (24, 40, 3, 1),
    (20, 10, 5, 1),
    (12, 24, 3, 2),
    (24, 24, 3, 3),
    (8, 8, 3, 8),
    (33, 33, 7, 33),
    (48, 12, 9, 1),
    (100, 40, 5, 20),
    (1, 1, 3, 1),
)


def assert_as_expected(model: onnx.ModelProto, *size: int, threads: int = 1) -> None:
    image = photo(*size)
    want = expected(model, image)
    gap = np.abs(computed(runner_of(model, threads), image) - want)
    assert gap.mean() <= tolerances.CONVOLVED_BF16_MEAN, gap.mean()
    assert gap.max() <= tolerances.CONVOLVED_BF16 * np.abs(want).max(), gap.max()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("outputs", "kernel"), [(1, 3), (16, 5), (24, 1), (52, 9), (70, 3)])
def test_the_first_layer(size: tuple[int, int], outputs: int, kernel: int) -> None:
    graph = Graph()
    model = graph.model(graph.convolution(graph.normalised(), 3, outputs, kernel))
    image = photo(*size)
    gap = np.abs(computed(runner_of(model), image) - expected(model, image))
    assert gap.max() <= tolerances.CONVOLVED["torch.float32"], gap.max()


def test_the_image_may_be_joined_and_read_in_several_ways() -> None:
    graph = Graph()
    image = graph.normalised()
    one, other = graph.convolution(image, 3, 8, 3), graph.convolution(image, 3, 8, 5)
    value = graph.node("Concat", image, one, other, axis=1)
    model = graph.model(graph.convolution(value, 19, 20))
    assert_as_expected(model, 7, 25)


@pytest.mark.parametrize(("inputs", "outputs", "kernel", "groups"), SHAPES)
def test_any_width_kernel_and_groups(inputs: int, outputs: int, kernel: int, groups: int) -> None:
    graph = Graph()
    value = graph.convolution(graph.first(inputs), inputs, outputs, kernel, groups)
    model = graph.model(value)
    for size in SIZES:
        assert_as_expected(model, *size)


@pytest.mark.parametrize("operator", ["Relu", "LeakyRelu", "PRelu", "Clip", "low", "high"])
@pytest.mark.parametrize("is_last", [False, True])
def test_activations(operator: str, is_last: bool) -> None:
    graph = Graph()
    value = graph.first(20)
    if operator == "PRelu":
        value = graph.node(operator, value, graph.weight(graph.normal(20, 1, 1)))
    elif operator == "LeakyRelu":
        value = graph.node(operator, value, alpha=-0.3)
    elif operator == "Relu":
        value = graph.node(operator, value)
    else:
        bounds = {"Clip": ("-0.5", "0.7"), "low": ("-0.5", ""), "high": ("", "0.7")}[operator]
        names = [graph.weight(float(one)) if one else "" for one in bounds]
        value = graph.node("Clip", value, *names)
    if not is_last:
        value = graph.convolution(value, 20, 20)
    assert_as_expected(graph.model(value), 9, 31)


def added_before_the_activation(graph: Graph, first: str) -> str:
    value = graph.node("Add", graph.convolution(first, 20, 20), first)
    return graph.convolution(graph.node("Relu", value), 20, 20)


def added_behind_the_activation(graph: Graph, first: str) -> str:
    value = graph.node("Relu", graph.convolution(first, 20, 20))
    value = graph.node("Add", first, value)
    return graph.convolution(graph.node("LeakyRelu", value, alpha=0.3), 20, 20)


def added_to_what_others_read(graph: Graph, first: str) -> str:
    second = graph.convolution(first, 20, 20)
    value = graph.node("Add", graph.convolution(second, 20, 20), graph.node("Add", first, second))
    return graph.convolution(graph.node("Add", value, value), 20, 20)


def joined(graph: Graph, first: str) -> str:
    second = graph.node("Relu", graph.convolution(first, 20, 16))
    value = graph.node("Concat", first, second, axis=1)
    value = graph.node("Concat", value, graph.convolution(value, 36, 7, 3), value, axis=1)
    return graph.convolution(value, 79, 20, 5)


def joined_and_added(graph: Graph, first: str) -> str:
    value = graph.node("Concat", first, first, axis=1)
    return graph.node("Add", value, graph.convolution(first, 20, 40))


def groups_of_joined_tensors(graph: Graph, first: str) -> str:
    value = graph.node("Concat", first, graph.convolution(first, 20, 12), axis=1)
    return graph.convolution(value, 32, 32, 3, 4)


def joined_at_the_end(graph: Graph, first: str) -> str:
    return graph.node("Concat", first, graph.convolution(first, 20, 3), axis=1)


def sum_of_convolutions(graph: Graph, first: str) -> str:
    second = graph.node("Relu", graph.convolution(first, 20, 16))
    one, other = graph.convolution(second, 16, 24, 1), graph.convolution(first, 20, 24, 1)
    value = graph.node("Relu", graph.node("Add", one, other))
    return graph.node("Add", value, graph.convolution(second, 16, 24, 1, bias=False))


def activated_for_one_reader(graph: Graph, first: str) -> str:
    value = graph.node("Add", graph.node("Relu", first), first)
    return graph.convolution(value, 20, 20)


def activated_twice(graph: Graph, first: str) -> str:
    value = graph.node("Relu", graph.node("LeakyRelu", first, alpha=-0.5))
    return graph.convolution(value, 20, 20)


def through_identities(graph: Graph, first: str) -> str:
    same = graph.node("Identity", graph.node("Concat", first, axis=1))
    return graph.node("Add", graph.convolution(same, 20, 20), graph.node("Relu", same))


NETWORKS = (
    added_before_the_activation,
    added_behind_the_activation,
    added_to_what_others_read,
    joined,
    joined_and_added,
    groups_of_joined_tensors,
    joined_at_the_end,
    sum_of_convolutions,
    activated_for_one_reader,
    activated_twice,
    through_identities,
)


def model_of(build: object) -> onnx.ModelProto:
    graph = Graph()
    assert callable(build)
    return graph.model(build(graph, graph.first(20)))


@pytest.mark.parametrize("build", NETWORKS, ids=lambda build: build.__name__)
def test_what_stands_between_convolutions(build: object) -> None:
    model = model_of(build)
    for size in SIZES:
        assert_as_expected(model, *size)


@pytest.mark.parametrize("build", NETWORKS, ids=lambda build: build.__name__)
def test_it_is_what_onnx_runtime_computes(build: object) -> None:
    import onnxruntime

    model, image = model_of(build), photo(11, 30)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (want,) = session.run(["features"], {"image": image})
    gap = np.abs(computed(runner_of(model), image) - want)
    assert gap.max() <= tolerances.NETWORK_BF16 * np.abs(want).max()


def deep() -> onnx.ModelProto:
    """Its layers stay up to 19 rows behind the image, and read it 12 layers later."""
    graph = Graph()
    first = value = graph.first(40)
    for groups in (1, 2, 1, 4, 1, 2):
        inner = graph.node("Relu", graph.convolution(value, 40, 40, 3, groups))
        value = graph.node("Add", graph.convolution(inner, 40, 40, 5), value)
    value = graph.node("Concat", value, first, axis=1)
    return graph.model(graph.convolution(value, 80, 52, 1))


WIDE = 1003
"""Columns that three threads divide among them."""


@pytest.mark.parametrize("size", [(1, 1), (5, 300), (100, 3), (37, 211), (9, 501), (2, WIDE)])
def test_threads_change_no_bit(size: tuple[int, int]) -> None:
    model, image = deep(), photo(*size)
    one = computed(runner_of(model), image)
    for threads in (2, 3, 7):
        runner = runner_of(model, threads)
        for _ in range(3):
            np.testing.assert_array_equal(computed(runner, image), one)


@pytest.mark.parametrize("width", [479, 480, 501, 502, 503, WIDE])
@pytest.mark.parametrize("threads", [1, 2, 3, 5])
def test_each_thread_has_columns_where_few_are_computed_twice(width: int, threads: int) -> None:
    network = runner_of(deep())._program.network
    strips = strips_of(network, width, threads)
    is_divided = 40 * (threads - 1) <= width / 12
    assert len(strips) == (threads if is_divided else 1)
    wanted = [column for strip in strips for column in range(width)[strip.wanted]]
    assert wanted == [*range(width)]
    for strip in strips:
        assert strip.seen.start % 4 == strip.wanted.start % 4 == 0
        assert strip.seen.start <= max(0, strip.wanted.start - 19)
        assert strip.seen.stop >= min(width, strip.wanted.stop + 19)


def test_crops_with_a_halo_are_the_whole_bit_for_bit() -> None:
    model, image, halo = deep(), photo(80, 120), 19
    runner, random = runner_of(model, 2), np.random.default_rng(3)
    whole = computed(runner, image)
    for _ in range(12):
        top, left = int(random.integers(0, 79)), int(random.integers(0, 119))
        bottom, right = int(random.integers(top, 80)) + 1, int(random.integers(left, 120)) + 1
        first_row, first_column = max(0, top - halo), max(0, left - halo)
        crop = image[:, :, first_row : bottom + halo, first_column : right + halo]
        rows, columns = top - first_row, left - first_column
        found = computed(runner, crop)[:, :, rows:, columns:][:, :, : bottom - top, : right - left]
        np.testing.assert_array_equal(found, whole[:, :, top:bottom, left:right])


def test_several_threads_may_call_it_at_once() -> None:
    model, runner = deep(), runner_of(deep(), 2)
    images = [photo(*size, seed=seed) for seed, size in enumerate([(30, 50), (8, 8), (30, 50)] * 4)]
    want = [computed(runner_of(model), image) for image in images]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda image: computed(runner, image), images))
    for one, other in zip(found, want, strict=True):
        np.testing.assert_array_equal(one, other)


def test_without_other_threads_one_computes_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    def submit(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    runner, images = runner_of(deep(), 3), (photo(20, 100), photo(3, WIDE))
    want = [computed(runner, image).copy() for image in images]
    monkeypatch.setattr(runner._helpers, "submit", submit)
    for image, expected_features in zip(images, want, strict=True):
        computed(runner, image)[:] = 0  # what is not computed stays
        np.testing.assert_array_equal(computed(runner, image), expected_features)


def test_threads_that_do_not_begin_are_not_waited_for() -> None:
    runner, image, go_on = runner_of(deep(), 3), photo(3, WIDE), threading.Event()
    want = computed(runner, image).copy()
    busy = [runner._helpers.submit(go_on.wait) for _ in range(3)]
    computed(runner, image)[:] = 0
    np.testing.assert_array_equal(computed(runner, image), want)
    go_on.set()
    assert all(one.result() for one in busy)


def test_nothing_of_a_call_is_held_when_it_is_over() -> None:
    runner, image = runner_of(deep(), 2), photo(20, 30)
    held = weakref.ref(image), weakref.ref(computed(runner, image))
    del image
    assert [one() for one in held] == [None, None]


def test_memory_is_used_again_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    runner = runner_of(deep())
    computed(runner, photo(20, 30))
    (kept,) = runner._idle
    computed(runner, photo(20, 30, seed=2))
    assert runner._idle == [kept]
    monkeypatch.setattr(running, "MOST_IDLE_BYTES", kept.size_bytes)
    for height in (5, 40, 6):
        computed(runner, photo(height, 30))
        assert runner._idle[-1].size == (height, 30)
        assert len(runner._idle) == 1 or sum(w.size_bytes for w in runner._idle) <= kept.size_bytes


def test_the_memory_of_all_strips_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "MOST_IDLE_BYTES", 0)
    runner = runner_of(deep(), 3)
    computed(runner, photo(2, 50))
    computed(runner, photo(2, WIDE))
    kept = [*runner._idle]
    assert len(kept) == 3
    computed(runner, photo(2, WIDE))
    assert {*map(id, runner._idle)} == {*map(id, kept)}


def test_memory_of_features_is_used_again() -> None:
    runner, image = runner_of(deep()), photo(40, 60)
    first = computed(runner, image)
    address, part = first.ctypes.data, first[0, 0]
    del first
    assert computed(runner, image).ctypes.data != address  # a part of it is still held
    del part
    assert address in {computed(runner, image).ctypes.data for _ in range(4)}
    assert len(runner._memory._blocks) == 2


def test_a_high_image_takes_the_memory_of_a_few_rows() -> None:
    network = runner_of(deep())._program.network
    low, high = (make_plan(network, (height, 100), 2).workspace_bytes for height in (100, 10_000))
    assert high == low


def endless(runner: running.ConvolutionRunner, image: Floats, cancellation: Cancellation) -> None:
    while True:
        runner.run_image("backbone", image, ("features",), cancellation)


@pytest.mark.parametrize("size", [(400, 400), (200, 800)])
def test_a_call_that_is_cancelled_ends_in_the_middle(size: tuple[int, int]) -> None:
    runner, image = runner_of(deep(), 2), photo(*size)
    with pytest.raises(CancelledError):
        runner.run_image("backbone", image, ("features",), Cancellation(timeout_s=0))
    cancellation, want = Cancellation(), computed(runner, image[:, :, :50])
    begun = threading.Timer(0.02, cancellation.cancel)
    begun.start()
    with pytest.raises(CancelledError):
        endless(runner, image, cancellation)
    begun.join()
    np.testing.assert_array_equal(computed(runner, image[:, :, :50]), want)


def test_nan_and_infinity_come_through() -> None:
    graph = Graph()
    runner = runner_of(graph.model(graph.node("Relu", graph.convolution(graph.first(8), 8, 8))))
    for value in (np.nan, np.inf):
        image = photo(9, 9)
        image[0, 1, 4, 4] = value
        found = computed(runner, image)[0]
        assert not np.isfinite(found[:, 4, 4]).all()
        assert np.isfinite(found[:, 0]).all()


@pytest.mark.parametrize("shape", [(1, 3, 0, 5), (1, 1, 4, 4), (3, 4, 4), (2, 3, 4, 4)])
def test_what_is_no_image_is_refused(shape: tuple[int, ...]) -> None:
    runner = runner_of(deep())
    with pytest.raises(ImageError):
        runner.run_image("backbone", np.zeros(shape, np.float32), ("features",))


def test_other_outputs_are_refused() -> None:
    runner = runner_of(deep())
    with pytest.raises(BackendError, match="features"):
        runner.run_image("backbone", photo(4, 4), ("classifier_features",))
    with pytest.raises(BackendError, match="upsampler_0"):
        runner.run_rows("upsampler_0", {})
