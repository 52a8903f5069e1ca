"""The tables of papers: text, CSV and LaTeX, of the same means; what is quoted stands apart."""

import csv
import json
import math
import re
import shutil
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest

from pcsr.bundle import MANIFEST, Bundle
from pcsr.calibration.evaluation.quoted import QuotedRow, quoted_rows
from pcsr.calibration.evaluation.report import EvaluationReport, Network, Score
from pcsr.calibration.evaluation.table import CSV_COLUMNS, FORMATS, MEASURED

from .pictures import run

PLAIN = Network("carn-x4", "b/carn-x4", "plain", "carn", 0, 294_915)
ROUTED = Network("carn_pcsr", "b/carn_pcsr", "pcsr", "carn", 2, 168_970)
FIGURES = (30.0, 0.9, 0.9, 10.0)


def score(
    network: Network | None, method: str, psnr_db: float, gflops: float, protocol: str = "image"
) -> Score:
    name = network.name if network else ""
    cost = gflops if network else None
    return Score("a.png", method, psnr_db, *FIGURES, cost, 1.0, 2.0, protocol, name)


def made(*scores: Score, networks: tuple[Network, ...] = (PLAIN, ROUTED)) -> EvaluationReport:
    return EvaluationReport("b", 4.0, 4, scores, (), (), networks)


@pytest.fixture
def report() -> EvaluationReport:
    return made(
        score(None, "bicubic", 24.0, 0),
        score(PLAIN, "plain", 26.456, 112.04),
        score(ROUTED, "k=0", 26.2249, 63.04),
        score(ROUTED, "k=1", 26.0, 5.6),
    )


@pytest.fixture
def quoting(report: EvaluationReport) -> EvaluationReport:
    return replace(report, quoted=quoted_rows("Test2K", ["srresnet"]))


def rows_of(table: str) -> list[list[str]]:
    return [re.split(r"  +", line.strip()) for line in table.splitlines()]


def parsed(table: str) -> list[dict[str, str]]:
    return list(csv.DictReader(StringIO(table)))


def latex_rows(table: str) -> list[list[str]]:
    lines = [line for line in table.splitlines() if line.endswith(r" \\")]
    return [[cell.strip() for cell in line[:-3].split("&")] for line in lines]


def test_text_has_the_numbers_as_the_paper_prints_them(report: EvaluationReport) -> None:
    caption, _, head, _, *rows = rows_of(FORMATS["text"](report))
    assert caption == ["one image at scale 4, RGB without a border of 4 px"]
    assert head == ["network", "mode", "parameters", "PSNR dB", "GFLOPs"]
    assert rows == [
        ["carn-x4", "plain", "294.92K", "26.46", "112.0 (100%)"],
        ["carn_pcsr", "k=0", "168.97K", "26.22", "63.0 (56%)"],
        ["carn_pcsr", "k=1", "168.97K", "26.00", "5.60 (5%)"],
    ]


def test_means_alone(report: EvaluationReport) -> None:
    second = tuple(
        replace(each, image="b.png", psnr_rgb_db=each.psnr_rgb_db + 1) for each in report.scores
    )
    both = replace(report, scores=report.scores + second)
    (row,) = (row for row in parsed(FORMATS["csv"](both)) if row["mode"] == "k=1")
    assert float(row["psnr_rgb_db"]) == 26.5
    assert "means of 2 images" in FORMATS["text"](both)


def test_without_the_original_there_is_no_percentage() -> None:
    report = made(score(ROUTED, "k=0", 26.2, 63.04), networks=(ROUTED,))
    assert "63.0 (-)" in FORMATS["text"](report)
    assert parsed(FORMATS["csv"](report))[0]["percent"] == ""


def test_the_original_is_that_of_the_backbone_under_the_same_protocol() -> None:
    other = Network("f", "b/f", "plain", "fsrcnn", 0, 1)
    third = Network("s", "b/s", "pcsr", "srresnet", 2, 1)
    report = made(
        score(other, "plain", 20.0, 10.0),
        score(PLAIN, "plain", 20.0, 40.0),
        score(PLAIN, "plain", 20.0, 80.0, protocol="cropped"),
        score(ROUTED, "k=0", 20.0, 20.0),
        score(ROUTED, "k=0", 20.0, 20.0, protocol="cropped"),
        score(third, "k=0", 20.0, 20.0),
        networks=(other, PLAIN, ROUTED, third),
    )
    rows = parsed(FORMATS["csv"](report))
    assert [row["percent"] for row in rows] == ["100.0", "100.0", "100.0", "50.0", "25.0", ""]


def test_csv_is_read_back_in_full_precision(quoting: EvaluationReport) -> None:
    rows = parsed(FORMATS["csv"](quoting))
    assert list(rows[0]) == list(CSV_COLUMNS)
    measured = [row for row in rows if row["source"] == MEASURED]
    assert [row["mode"] for row in measured] == ["plain", "k=0", "k=1"]
    assert float(measured[1]["psnr_rgb_db"]) == 26.2249
    assert float(measured[1]["percent"]) == pytest.approx(100 * 63.04 / 112.04)
    assert [row["parameters"] for row in measured] == ["294915", "168970", "168970"]
    assert [row["upsamplers"] for row in measured] == ["", "2", "2"]
    quoted = rows[len(measured) :]
    assert [row["network"] for row in quoted] == [each.network for each in quoting.quoted]
    assert {row["source"] for row in quoted} == {quoting.quoted[0].source}
    assert quoted[0]["parameters"] == "1500000"


def test_latex_is_one_tabular_of_booktabs(quoting: EvaluationReport) -> None:
    table = FORMATS["latex"](quoting)
    assert table.count(r"\begin{tabular}{lllrrr}") == table.count(r"\end{tabular}") == 1
    assert [line for line in table.splitlines() if re.fullmatch(r"\\\w+rule", line)] == [
        r"\toprule",
        r"\midrule",
        r"\midrule",
        r"\midrule",
        r"\bottomrule",
    ]
    rows = latex_rows(table)
    assert rows[2] == ["carn\\_pcsr", "k=0", "image", "168.97K", "26.22", "63.0 (56\\%)"]
    assert {len(row) for row in rows if "multicolumn" not in row[0]} == {6}
    assert not re.search(r"(?<!\\)[_#$]", table)
    assert table.count("{") == table.count("}")
    assert all("%" not in line.replace(r"\%", "") for line in table.splitlines()[1:])


def test_names_are_escaped() -> None:
    odd = replace(ROUTED, name=r"a_b & 50% {x} \y~^#$")
    table = FORMATS["latex"](made(score(odd, "k=0", math.inf, 1.0), networks=(odd,)))
    (row,) = (line for line in table.splitlines() if "a\\_b" in line)
    expected = r"a\_b \& 50\% \{x\} \textbackslash{}y\textasciitilde{}\textasciicircum{}\#\$"
    assert row == expected + r" & k=0 & 168.97K & $\infty$ & 1.00 (-) \\"


def test_m_is_a_column_where_networks_differ_in_it() -> None:
    three = replace(ROUTED, name="three", upsamplers=3, parameters=1_500_000)
    scores = (score(ROUTED, "k=0", 26.0, 60.0), score(three, "k=0", 26.0, 60.0))
    rows = rows_of(FORMATS["text"](made(*scores, networks=(ROUTED, three))))
    assert rows[2][2:4] == ["M", "parameters"]
    assert [row[2:4] for row in rows[4:]] == [["2", "168.97K"], ["3", "1.50M"]]


def test_quoted_rows_are_a_block_of_their_own(quoting: EvaluationReport) -> None:
    text = FORMATS["text"](quoting)
    measured, quoted = text.split("Test2K, quoted, not measured: Jeong et al., ECCV 2024")
    assert "SRResNet-ARM" not in measured
    assert "carn" not in quoted
    assert ["SRResNet-MGA", "image-wise", "2.0M", "26.20", "249.2 (50%)"] in rows_of(quoted)
    latex = FORMATS["latex"](quoting)
    block = latex.split(r"\multicolumn")[1]
    assert "second-hand" in block
    assert "SRResNet-PCSR &  & image-wise & 0.9M & 26.20 & 191.0 (38\\%) \\\\" in block
    assert "carn" not in block


def test_quoted_figures() -> None:
    assert quoted_rows("test8k", ["carn"]) == ()
    eight = quoted_rows("test8k", ["fsrcnn", "srresnet"])
    assert {row.protocol for row in eight} == {"patch-wise"}  # MGA has no figures there
    assert len(eight) == 8
    assert len(quoted_rows("TEST4K", ["fsrcnn", "srresnet"])) == 12
    arm: QuotedRow = eight[2]
    assert (arm.network, arm.parameters, arm.parameter_count) == ("FSRCNN-ARM", "25K", 25_000)
    assert (arm.psnr_rgb_db, arm.gflops, arm.percent) == (32.73, 746.7, 70)
    for name in ("Test2K", "Test4K", "Test8K"):  # the percentages follow from the GFLOPs
        rows = quoted_rows(name, ["fsrcnn", "srresnet"])
        whole = {row.backbone: row.gflops for row in rows if row.percent == 100}
        for row in rows:
            assert abs(100 * row.gflops / whole[row.backbone] - row.percent) < 1


def test_the_command_prints_it_in_place_of_the_table(
    carn_like_bundle: Path, plain_bundle: Path, image: Path, tmp_path: Path
) -> None:
    file = tmp_path / "r.json"
    command = (carn_like_bundle, image, "--plain", plain_bundle, "--test-set", "test2k")
    result = run(*command, "--table", "csv", "--json", file)
    assert result.exit_code == 0, result.stderr
    notes = result.stderr.splitlines()
    assert notes[0] == "note: no published figures are stored for carn"
    assert re.fullmatch(
        r"note: the percentage of \S+ is that of .* GFLOPs, .* not on carn", notes[1]
    )
    rows, data = parsed(result.stdout), json.loads(file.read_text())
    measured = [row for row in rows if row["source"] == MEASURED]
    assert [row["mode"] for row in measured] == ["plain", "k=0"]
    assert measured[1]["parameters"] == str(Bundle.load(carn_like_bundle).manifest.model.parameters)
    assert [row["network"] for row in data["quoted"]] == [
        row["network"] for row in rows if row["source"] != MEASURED
    ]
    assert {row["backbone"] for row in data["quoted"]} == {"fsrcnn"}
    assert len(data["scores"]) == 3
    assert not {"FSRCNN", "FSRCNN-PCSR"} & {each["network"] for each in data["means"]}


def test_a_bundle_without_its_parameters_is_noted(
    carn_like_bundle: Path, image: Path, tmp_path: Path
) -> None:
    older = Path(shutil.copytree(carn_like_bundle, tmp_path / "older"))
    manifest = json.loads((older / MANIFEST).read_text())
    del manifest["model"]["parameters"]
    (older / MANIFEST).write_text(json.dumps(manifest))
    result = run(older, image, "--table", "text")
    assert "does not say how many parameters" in result.stderr
    assert "export it again" in result.stderr
    assert rows_of(result.stdout)[-1][:3] == ["older", "k=0", "-"]
    assert run(older, image).stderr == ""
