"""The paper's ablations, an option each: M and backbones, refinement, k; patch sizes are in
test_protocols.
"""

import csv
import json
import shutil
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from pcsr.bundle import MANIFEST
from pcsr.calibration.evaluation.evaluation import evaluate
from pcsr.calibration.evaluation.methods import network_names
from pcsr.calibration.evaluation.options import MOST_SWEPT, EvaluationOptions, swept
from pcsr.errors import UsageError
from pcsr.images import read

from .pictures import figures, run


@pytest.fixture
def two(carn_like_bundle: Path, tmp_path: Path) -> Path:
    """The bundle in a folder of a name of its own."""
    return Path(shutil.copytree(carn_like_bundle, tmp_path / "two"))


@pytest.fixture
def three(three_way_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(three_way_bundle, tmp_path / "three"))


def table(*arguments: str | Path) -> list[dict[str, str]]:
    result = run(*arguments, "--table", "csv")
    assert result.exit_code == 0, result.stderr
    return list(csv.DictReader(StringIO(result.stdout)))


def edited(bundle: Path, **changes: Any) -> Path:  # noqa: ANN401
    manifest = json.loads((bundle / MANIFEST).read_text())
    (bundle / MANIFEST).write_text(json.dumps(manifest | changes))
    return bundle


def test_networks_stand_in_one_table(two: Path, three: Path, image: Path) -> None:
    rows = table(two, image, "--compare", three, "--k", "0", "--k", "1")
    assert [(row["network"], row["mode"], row["upsamplers"]) for row in rows] == [
        ("two", "k=0", "2"),
        ("two", "k=1", "2"),
        ("three", "k=0", "3"),
        ("three", "k=1", "3"),
    ]
    text = run(two, image, "--compare", three, "--table", "text").stdout
    assert " M " in text
    assert [line.split()[:3] for line in text.splitlines()[-2:]] == [
        ["two", "k=0", "2"],
        ["three", "k=0", "3"],
    ]


def test_a_compared_network_has_its_own_scores(two: Path, three: Path, image: Path) -> None:
    both = evaluate(two, [image], EvaluationOptions(compare=(three,)))
    alone = evaluate(three, [image], EvaluationOptions())
    assert [score.network for score in both.scores] == ["", "two", "three"]
    assert figures(both.scores[2:]) == figures(alone.scores[1:])
    assert [mean.network for mean in both.means] == ["", "two", "three"]


def test_the_ordinary_table_names_networks_where_there_are_several(
    two: Path, three: Path, image: Path, plain_bundle: Path
) -> None:
    assert "network" not in run(two, image, "--plain", plain_bundle).stdout
    lines = run(two, image, "--compare", three).stdout.splitlines()
    assert lines[0].split()[:3] == ["image", "network", "method"]
    assert [line.split()[:3] for line in lines[-3:]] == [
        ["mean", "-", "bicubic"],
        ["mean", "two", "k=0"],
        ["mean", "three", "k=0"],
    ]


def test_names_tell_bundles_apart(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("a/x4", "b/x4", "c/x2")]
    assert network_names(folders[1:]) == ["x4", "x2"]
    assert network_names(folders) == ["a/x4", "b/x4", "c/x2"]
    assert network_names([tmp_path / "a" / ".." / "b"]) == ["b"]
    with pytest.raises(UsageError, match="named twice"):
        network_names([folders[0], folders[0] / ".." / "x4"])


def test_another_trained_scale_is_noted(two: Path, three: Path, image: Path) -> None:
    other = edited(three, trained_scale=3.0)
    report = evaluate(two, [image], EvaluationOptions(compare=(other,)))
    assert report.notes == ("three was trained for scale 3, and is evaluated at 4",)
    assert evaluate(other, [image], EvaluationOptions()).notes == ()


def test_refinement_on_and_off(two: Path, image: Path) -> None:
    options = EvaluationOptions(both_refinements=True, adaptive=True, k=(0,))
    report = evaluate(two, [image], options)
    assert [score.method for score in report.scores[1:]] == [
        "k=0 refined",
        "k=0 unrefined",
        "adaptive refined",
        "adaptive unrefined",
    ]
    for refine, scores in ((True, report.scores[1::2]), (False, report.scores[2::2])):
        one = evaluate(two, [image], EvaluationOptions(adaptive=True, k=(0,), refine=refine))
        found = [score.psnr_rgb_db for score in scores]
        assert found == [score.psnr_rgb_db for score in one.scores[1:]]
    assert report.scores[1].psnr_rgb_db != report.scores[2].psnr_rgb_db


def test_a_sweep_adds_evenly_spaced_k(two: Path, image: Path, tmp_path: Path) -> None:
    curve = tmp_path / "curve.png"
    sweep = ("--k-sweep", "-0.5:1:4", "--curve", curve)
    assert [row["mode"] for row in table(two, image, *sweep)] == ["k=-0.5", "k=0", "k=0.5", "k=1"]
    assert min(read(curve, 10**7).pixels.shape[:2]) > 500
    more = table(two, image, "--k", "7", "--k-sweep", "0:1:2")
    assert [row["mode"] for row in more] == ["k=7", "k=0", "k=1"]


def test_sweeps_are_written_first_last_count() -> None:
    assert swept("0:1:4") == (0, 0.333333, 0.666667, 1)
    assert swept("2:-1:2") == (2, -1)
    assert len(swept(f"0:1:{MOST_SWEPT}")) == MOST_SWEPT
    wrong = ("", "1", "0:1", "0:1:1", "0:1:0", "0:1:-3", "0:1:2.5", "0:1:1001", "a:1:3", "0:b:3")
    for text in (*wrong, "nan:1:3", "0:inf:3", "0:1:3:4", "1:1:3"):
        with pytest.raises(UsageError, match=r"FIRST:LAST:COUNT|equal ends"):
            swept(text)
