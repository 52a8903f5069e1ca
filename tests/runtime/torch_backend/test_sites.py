"""What our convolutions may replace, and what they may not."""

from typing import Any

import pytest
import torch

from pcsr.runtime.torch_backend.graph import Node, OperatorGraph
from pcsr.runtime.torch_backend.replacing.candidates import OPERATORS, improved
from pcsr.runtime.torch_backend.replacing.sites import channels_of, sites_of

USUAL = {"kernel_shape": (3, 3), "pads": (1, 1, 1, 1)}
POINT = {"kernel_shape": (1, 1)}


def graph_of(
    attributes: dict[str, Any], *shape: int, behind: tuple[Node, ...] = (), output: str = "y"
) -> OperatorGraph:
    """One convolution, and what is behind it."""
    nodes = (Node("Conv", "", ("x", "w", "b"), ("y",), attributes), *behind)
    return OperatorGraph(
        ("x",), (output,), nodes, {"w": torch.rand(*shape), "b": torch.rand(shape[0])}
    )


def keys(graph: OperatorGraph) -> list[str]:
    return [site.key for site in sites_of(graph)]


@pytest.mark.parametrize(
    ("attributes", "shape", "key"),
    [
        (POINT, (128, 300, 1, 1), "1x1 300 to 128 bias"),
        (USUAL, (12, 12, 3, 3), "3x3 12 to 12 bias"),
        ({**USUAL, "group": 4}, (64, 16, 3, 3), "3x3 4 x 16 to 64 bias"),
    ],
)
def test_these(attributes: dict[str, Any], shape: tuple[int, ...], key: str) -> None:
    assert keys(graph_of(attributes, *shape)) == [key]


@pytest.mark.parametrize(
    ("attributes", "shape"),
    [
        (POINT, (129, 64, 1, 1)),  # too many outputs
        ({**POINT, "strides": (2, 2)}, (8, 8, 1, 1)),
        ({**POINT, "pads": (1, 1, 1, 1)}, (8, 8, 1, 1)),
        ({**POINT, "group": 2}, (8, 4, 1, 1)),
        (USUAL, (64, 64, 3, 3)),  # dense
        (USUAL, (16, 17, 3, 3)),
        ({**USUAL, "group": 4}, (8, 2, 3, 3)),  # narrow groups
        ({**USUAL, "group": 16}, (256, 16, 3, 3)),
        ({**USUAL, "strides": (2, 2)}, (16, 16, 3, 3)),
        ({**USUAL, "dilations": (2, 2)}, (16, 16, 3, 3)),
        ({"kernel_shape": (3, 3)}, (16, 16, 3, 3)),  # the result is smaller
        ({"kernel_shape": (5, 5), "pads": (2, 2, 2, 2)}, (16, 16, 5, 5)),
    ],
)
def test_not_these(attributes: dict[str, Any], shape: tuple[int, ...]) -> None:
    assert not keys(graph_of(attributes, *shape))


def test_weights_and_sums_that_are_not_known() -> None:
    graph = graph_of(POINT, 8, 8, 1, 1)
    assert not keys(OperatorGraph(("x", "w", "b"), graph.outputs, graph.nodes, {}))
    plus = (Node("Add", "", ("y", "b"), ("z",), {}),)
    assert keys(graph_of(POINT, 8, 8, 1, 1, behind=plus, output="z")) == ["1x1 8 to 8 bias"]


def test_joins_of_other_axes_or_of_unknown_maps_stay() -> None:
    def joined(axis: int) -> OperatorGraph:
        nodes = (
            Node("Concat", "", ("x", "x"), ("j",), {"axis": axis}),
            Node("Conv", "", ("j", "w"), ("y",), POINT),
            Node("Conv", "", ("x", "v"), ("z",), POINT),
        )
        weights = {"w": torch.rand(8, 16, 1, 1), "v": torch.rand(8, 8, 1, 1)}
        return OperatorGraph(("x",), ("y", "z"), nodes, weights)

    assert keys(joined(2)) == ["1x1 16 to 8", "1x1 8 to 8"]
    unknown = joined(1)  # what comes later tells the channels of x
    assert keys(unknown) == ["1x1 8+8 to 8", "1x1 8 to 8"]
    assert [s.channels for s in sites_of(unknown)] == [(8, 8), (8,)]
    assert keys(OperatorGraph(("x",), ("y",), unknown.nodes[:2], unknown.constants)) == [
        "1x1 16 to 8"
    ]


def test_slices_tell_their_channels() -> None:
    numbers = {f"n{value}": torch.tensor([value]) for value in (0, 1, 2, 6, 99)}
    cuts = {"a": ("n0", "n6", "n1", "n1"), "b": ("n6", "n99", "n1", "n1")}
    other = {"c": ("n0", "n6", "n2", "n1"), "d": ("n0", "n6", "n1", "n2")}
    nodes = [
        Node("Slice", "", ("y", *limits), (name,), {}) for name, limits in (cuts | other).items()
    ]
    conv = graph_of(POINT, 8, 4, 1, 1)
    graph = OperatorGraph(
        ("x",), (*cuts, *other), (*conv.nodes, *nodes), {**conv.constants, **numbers}
    )
    assert channels_of(graph) == {"x": 4, "y": 8, "a": 6, "b": 2}


def test_operators_that_are_chosen_stay() -> None:
    graph = graph_of(POINT, 8, 8, 1, 1)
    assert improved(graph, lambda _site: OPERATORS) is graph


FIVE = {"kernel_shape": (5, 5), "pads": (2, 2, 2, 2)}


def image_graph(
    mean: tuple[float, ...] = (0.4, 0.5, 0.6),
    std: tuple[float, ...] = (1, 1, 1),
    kind: torch.dtype = torch.float16,
    to: int = 10,
    outputs: tuple[str, ...] = ("y",),
) -> OperatorGraph:
    """(image - mean) / std, cast, convolved and activated."""
    nodes = (
        Node("Sub", "", ("image", "mean"), ("less",), {}),
        Node("Div", "", ("less", "std"), ("div",), {}),
        Node("Cast", "", ("div",), ("cast",), {"to": to}),
        Node("Conv", "", ("cast", "w", "b"), ("c",), FIVE),
        Node("LeakyRelu", "", ("c",), ("y",), {"alpha": -0.5}),
    )
    constants = {
        "mean": torch.tensor(mean).reshape(1, -1, 1, 1),
        "std": torch.tensor(std).reshape(1, -1, 1, 1),
        "w": torch.rand(8, 3, 5, 5).to(kind),
        "b": torch.rand(8).to(kind),
    }
    return OperatorGraph(("image",), outputs, nodes, constants)


def ops(graph: OperatorGraph) -> list[str]:
    return [node.op for node in graph.nodes]


def first_kernel(graph: OperatorGraph) -> OperatorGraph:
    return improved(graph, lambda _site: "one kernel 128x4")


@pytest.mark.parametrize(
    ("graph", "key", "left"),
    [
        (image_graph(), "image of float32 less mean, 5x5 3 to 8 bias LeakyReLU -0.5", []),
        (image_graph((0, 0, 0)), "image of float32, 5x5 3 to 8 bias LeakyReLU -0.5", []),
        (
            image_graph(std=(1, 1, 2)),
            "image of float32, 5x5 3 to 8 bias LeakyReLU -0.5",
            ["Sub", "Div"],
        ),
        (
            image_graph(kind=torch.float32),  # a Cast to another type stays
            "image of float32, 5x5 3 to 8 bias LeakyReLU -0.5",
            ["Sub", "Div", "Cast"],
        ),
        (
            image_graph(kind=torch.float32, to=1),
            "image of float32 less mean, 5x5 3 to 8 bias LeakyReLU -0.5",
            [],
        ),
        (
            image_graph(outputs=("y", "less")),
            "image of float32 less mean, 5x5 3 to 8 bias LeakyReLU -0.5",
            ["Sub"],
        ),
    ],
)
def test_images_are_read_as_they_are_given(graph: OperatorGraph, key: str, left: list[str]) -> None:
    assert keys(graph) == [key]
    assert sorted(ops(first_kernel(graph))) == sorted([*left, "First"])


@pytest.mark.parametrize(
    ("attributes", "shape", "is_first"),
    [
        (USUAL, (64, 4, 3, 3), True),
        (FIVE, (128, 1, 5, 5), True),
        ({"kernel_shape": (7, 7), "pads": (3, 3, 3, 3)}, (8, 3, 7, 7), True),
        (USUAL, (64, 5, 3, 3), False),
        (USUAL, (129, 3, 3, 3), False),
        ({**USUAL, "group": 3}, (66, 1, 3, 3), False),
        ({**USUAL, "strides": (2, 2)}, (64, 3, 3, 3), False),
        ({"kernel_shape": (3, 3)}, (64, 3, 3, 3), False),
        (FIVE, (8, 3, 5, 3), False),
        ({"kernel_shape": (9, 9), "pads": (4, 4, 4, 4)}, (8, 3, 9, 9), False),
    ],
)
def test_convolutions_of_few_channels(
    attributes: dict[str, Any], shape: tuple[int, ...], is_first: bool
) -> None:
    found = [site.image is not None for site in sites_of(graph_of(attributes, *shape))]
    assert found == [True] * is_first
