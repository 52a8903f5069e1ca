"""The curve: what is joined, what is named, and that it can be read."""

import math
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from pcsr.calibration.evaluation.curve import draw_curve
from pcsr.calibration.evaluation.report import EvaluationReport, Network, Score


def label_boxes(axes: Axes) -> list[Bbox]:
    return [text.get_window_extent() for text in axes.texts]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are drawn."""
    figures: list[Figure] = []
    savefig = Figure.savefig

    def keeping(figure: Figure, file: Path) -> None:
        figures.append(figure)
        savefig(figure, file)

    monkeypatch.setattr(Figure, "savefig", keeping)
    return figures


def scored(name: str, ms: float, protocol: str = "image", network: str = "pcsr") -> Score:
    figures = (27, 0.9, 0.9, 10, ms / 4, ms / 8, ms)
    return Score("a.png", name, 26 + 0.01 * ms, *figures, protocol, network)


def drawing(path: Path, *scores: Score, networks: tuple[Network, ...] = ()) -> None:
    draw_curve(EvaluationReport("b", 4.0, 4, scores, (), (), networks), path)


def assert_legible(axes: Axes) -> None:
    boxes = label_boxes(axes)
    assert not [pair for pair in combinations(boxes, 2) if pair[0].overlaps(pair[1])]
    assert all(axes.bbox.containsx(x) for box in boxes for x in (box.x0, box.x1))
    assert all(axes.bbox.containsy(y) for box in boxes for y in (box.y0, box.y1))


def legend_of(figure: Figure) -> list[str]:
    (legend,) = figure.legends
    box = legend.get_window_extent()
    assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
    return [text.get_text() for text in legend.get_texts()]


@pytest.mark.parametrize("count", [2, 6, 15])
def test_labels_of_a_curve_do_not_overlap(tmp_path: Path, drawn: list[Figure], count: int) -> None:
    names = [*(f"k={k}" for k in range(count - 3)), "preset=fast", "preset=quality", "plain"]
    cost = np.linspace(20, 10, count)
    scores = [scored(name, ms) for name, ms in zip(names[-count:], cost, strict=True)]
    bicubic = Score("a.png", "bicubic", 20.0, 21.0, 0.8, 0.8)
    drawing(tmp_path / "curve.png", bicubic, *scores)
    for axes in drawn[0].axes:
        assert len(axes.texts) == count
        assert_legible(axes)
        assert axes.get_ylim()[0] > 21  # bicubic does not press the others together


def test_protocols_and_networks_are_not_joined(tmp_path: Path, drawn: list[Figure]) -> None:
    networks = tuple(Network(name, name, "pcsr", "carn", 2, 1) for name in ("one", "two"))
    scores = [
        scored(f"k={k}", 20 - k + 5 * shift, protocol, network.name)
        for shift, protocol in enumerate(("image", "patches 32/28"))
        for network in networks
        for k in (0, 1)
    ]
    bicubic = Score("a.png", "bicubic", 20.0, 21.0, 0.8, 0.8)
    levels = (bicubic, replace(bicubic, protocol="patches 32/28"))
    drawing(tmp_path / "curve.png", *levels, *scores, networks=networks)
    for axes in drawn[0].axes:
        lines = [line for line in axes.lines if line.get_linestyle() == "-"]
        assert [len(np.asarray(line.get_xdata())) for line in lines] == [2, 2, 2, 2]
        assert len({line.get_color() for line in lines}) == 4
    assert legend_of(drawn[0]) == [
        "one, image",
        "two, image",
        "one, patches 32/28",
        "two, patches 32/28",
        "k",
        "bicubic, image: 20.00 dB",
        "bicubic, patches 32/28: 20.00 dB",
    ]


def test_refinements_are_not_joined(tmp_path: Path, drawn: list[Figure]) -> None:
    names = [f"k={k} {how}" for k in (0, 1) for how in ("refined", "unrefined")]
    scores = [scored(name, 20 - number) for number, name in enumerate(names)]
    drawing(tmp_path / "curve.png", scored("plain", 30, network="plain"), *scores)
    lines = {
        str(line.get_color()): len(np.asarray(line.get_xdata())) for line in drawn[0].axes[0].lines
    }
    assert lines == {"black": 1, "C0": 2, "C1": 2}
    assert legend_of(drawn[0]) == ["refined", "unrefined", "plain", "k"]
    assert {text.get_text() for text in drawn[0].axes[0].texts} == {"plain", "k=0", "k=1"}


@pytest.mark.parametrize("networks", [1, 2, 4, 12])
def test_a_long_sweep_names_some_points(tmp_path: Path, drawn: list[Figure], networks: int) -> None:
    kinds = tuple(Network(f"m{n}", f"m{n}", "pcsr", "carn", 2, 1) for n in range(networks))
    scores = [
        scored(f"k={k}", 40 - k + 3 * n, network=network.name)
        for n, network in enumerate(kinds)
        for k in range(21)
    ]
    drawing(tmp_path / "curve.png", *scores, networks=kinds)
    for axes in drawn[0].axes:
        names = [text.get_text() for text in axes.texts]
        assert names.count("k=0") == names.count("k=20") == networks
        assert len(names) <= max(16, 3 * networks)
        if networks <= 4:
            assert_legible(axes)


@pytest.mark.filterwarnings("error")
def test_curve_without_a_finite_point(tmp_path: Path) -> None:
    perfect = Score("a.png", "k=0", math.inf, math.inf, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0)
    draw_curve(EvaluationReport("b", 4.0, 4, (perfect,), (), ()), tmp_path / "curve.png")
    assert (tmp_path / "curve.png").stat().st_size > 0
