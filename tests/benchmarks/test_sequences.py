"""benchmarks.sequences: frames that change in part, and a row for each."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.sequences.__main__ import main
from benchmarks.sequences.measured import CASES, changed


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_that_share_of_a_frame_changes(case: tuple[float, int]) -> None:
    first, other = np.zeros((200, 300, 3), np.uint8), np.ones((200, 300, 3), np.uint8)
    after = changed(first, other, *case)
    assert after.mean() == pytest.approx(case[0], abs=0.01)
    assert not first.any()
    corners = after[[0, 0, -1, -1], [0, -1, 0, -1], 0].tolist()
    assert corners == {1: [int(case[0] == 1)] * 4, 2: [1, 0, 0, 1]}[case[1]]


def test_it_prints_a_row_for_each_case(
    carn_like_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main([str(carn_like_bundle), "--size", "60x80", "--threads", "1", "--rounds", "1"])
    printed = capsys.readouterr().out
    rows = [line.split("|") for line in printed.splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in row[1:-1]] for row in rows]
    assert [row[0] for row in rows] == 2 * ["changed", *CASES]
    figures = [list(map(float, row[1:])) for row in rows if row[0] != "changed"]
    assert all(figure[0] > 0 and figure[2] > 0 for figure in figures)
    assert [figure[4] for figure in figures[::6]] == [1.0, 1.0]
    assert [figure[4] for figure in figures[5::6]] == [0.0, 0.0]
