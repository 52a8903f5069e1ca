"""The search, with a network whose damage is made up."""

from collections.abc import Collection, Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from pcsr.calibration.precision.calibration_images import CalibrationImage
from pcsr.calibration.precision.quality import ImageFigures, QualityBound
from pcsr.calibration.precision.search import Search, SearchResult, as_rows
from pcsr.calibration.work_file import WorkFile
from pcsr.errors import UsageError

from .nets import Net

PIXELS = np.zeros((8, 8, 3), np.uint8)
DAMAGE = {"node_b": 0.01, "node_c": 0.3, "node_d": 0.02, "node_e": 0.04}


def network() -> onnx.ModelProto:
    net = Net().conv("image", "a", 3)
    for source, out in ("ab", "bc", "cd", "de"):
        net.conv(source, out)
    return net.conv("e", "out", outputs=3).build()


class QualityComparison:
    """Damage adds up; each image loses as much. narrow: gain of the narrower ranges."""

    def __init__(self, factor: float = 1.0, lr_only: bool = False, narrow: float = 2.0) -> None:
        self.narrow = narrow
        self.samples = [CalibrationImage("one", PIXELS, None if lr_only else PIXELS)]
        self.factor, self.lr_only, self.asked = factor, lr_only, list[tuple[str, ...]]()

    def figures(self, graph: Any) -> list[ImageFigures]:  # noqa: ANN401
        level, chosen, _copied = graph
        self.asked.append(chosen)
        error = (
            self.factor
            * sum(DAMAGE[name] for name in chosen)
            * (self.narrow if level != 0.9999 else 1)
        )
        known = None if self.lr_only else 30.0
        loss = None if known is None else known - error
        return [ImageFigures("one", known, loss, 50 - 10 * error, error, 1.0)]


def write(level: float, chosen: Collection[str], copied: Collection[str]) -> Any:  # noqa: ANN401
    return level, tuple(chosen), tuple(copied)


def copyable(_graph: Any) -> list[str]:  # noqa: ANN401
    return []


def quiet(items: Iterable[Any], _label: str) -> AbstractContextManager[Iterable[Any]]:
    return nullcontext(items)


def search(
    folder: Path, loss: float, crops: QualityComparison, whole: QualityComparison
) -> SearchResult:
    work = WorkFile(folder / "bundle", "search", "identity")
    bound = QualityBound(loss, 49.0)
    with work:
        return Search(
            "cpu",
            write,
            lambda graph: graph,
            copyable,
            crops,  # type: ignore[arg-type]
            whole,  # type: ignore[arg-type]
            bound,
            work,
            quiet,
        ).run(network())


@pytest.mark.parametrize(
    ("loss", "kept"),
    [
        (0.4, ["node_b", "node_c", "node_d", "node_e"]),
        (0.1, ["node_b", "node_d", "node_e"]),
        (0.05, ["node_b", "node_d"]),
        (0.015, ["node_b"]),
    ],
)
def test_layers_that_harm_most_stay_float32_until_the_bound_holds(
    tmp_path: Path, loss: float, kept: list[str]
) -> None:
    found = search(tmp_path, loss, QualityComparison(), QualityComparison())
    assert list(found.quantised) == kept
    assert sum(DAMAGE[name] for name in kept) <= loss


def test_each_layer_is_measured_alone_and_ends_never(tmp_path: Path) -> None:
    found = search(tmp_path, 0.1, QualityComparison(), QualityComparison())
    assert [layer.name for layer in found.layers] == ["node_a", *DAMAGE, "node_out"]
    alone = {layer.name: layer.error for layer in found.layers}
    assert alone == pytest.approx(DAMAGE | {"node_a": None, "node_out": None})
    rows = {row["name"]: row["quantised"] for row in as_rows(found)}
    assert [name for name, quantised in rows.items() if quantised] == list(found.quantised)


@pytest.mark.parametrize(("gain", "level"), [(2.0, 0.9999), (1.1, 1.0), (0.9, 1.0)])
def test_narrow_ranges_must_pay(tmp_path: Path, gain: float, level: float) -> None:
    assert (
        search(tmp_path, 1.0, QualityComparison(narrow=gain), QualityComparison(narrow=gain)).level
        == level
    )


def test_the_bound_holds_on_whole_images_too(tmp_path: Path) -> None:
    """Which may lose more than their middle."""
    found = search(tmp_path, 0.1, QualityComparison(), QualityComparison(factor=2.0))
    assert list(found.quantised) == ["node_b", "node_d"]
    assert found.figures[0].psnr_loss_db == pytest.approx(0.06)


def test_without_originals_fidelity_decides(tmp_path: Path) -> None:
    found = search(tmp_path, 0.0, QualityComparison(lr_only=True), QualityComparison(lr_only=True))
    assert list(found.quantised) == ["node_b", "node_d", "node_e"]  # 49.3 dB


def test_a_bound_that_nothing_keeps_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not one layer can be quantised"):
        search(tmp_path, 0.001, QualityComparison(), QualityComparison())


def test_a_network_of_two_convolutions_is_refused(tmp_path: Path) -> None:
    model = Net().conv("image", "a", 3).conv("a", "out", outputs=3).build()
    work = WorkFile(tmp_path / "bundle", "search", "identity")
    comparison: Any = QualityComparison()
    with pytest.raises(UsageError, match="nothing to quantise"):
        Search(
            "cpu",
            write,
            lambda graph: graph,
            copyable,
            comparison,
            comparison,
            QualityBound(1, 1),
            work,
            quiet,
        ).run(model)


class Interrupted(QualityComparison):
    def figures(self, graph: Any) -> list[ImageFigures]:  # noqa: ANN401
        if len(self.asked) == 5:
            raise KeyboardInterrupt
        return super().figures(graph)


def test_an_interrupted_search_goes_on_where_it_was(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        search(tmp_path, 0.1, Interrupted(), QualityComparison())
    again = QualityComparison()
    resumed = search(tmp_path, 0.1, again, QualityComparison())
    fresh = QualityComparison()
    other = tmp_path / "other"
    other.mkdir()
    assert resumed == search(other, 0.1, fresh, QualityComparison())
    assert len(again.asked) == len(fresh.asked) - 5
