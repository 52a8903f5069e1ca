"""Which rows are finished with their chunk, and which between two of them."""

import itertools

import numpy as np
import pytest

from pcsr.runtime.cpu.composing.finishing import parted

EDGES = [(0, 4), (0, 4, 9), (0, 1, 2, 3), (0, 5, 6, 12), (10, 11, 20, 21), (3, 4, 5), ()]


@pytest.mark.parametrize("edges", EDGES, ids=str)
@pytest.mark.parametrize(("above", "below"), [*itertools.product((-1, 0, 1), (-1, 0))])
def test_each_row_is_finished_once_and_beside_rows_that_are_there(
    edges: tuple[int, ...], above: int, below: int
) -> None:
    """above: the row above waits (-1), or the first one is not wanted (1)."""
    chunks = [slice(*each) for each in itertools.pairwise(edges)]
    first, stop = (edges[0], edges[-1]) if edges else (0, 0)
    rows = slice(max(0, first + above), max(first + above, stop + below, 0))
    if rows.stop < rows.start or not edges:
        rows = slice(first, first)
    inner, seams = parted(chunks, rows)
    assert inner.keys() == {chunk.start for chunk in chunks}
    parts = [*inner.values(), *seams]
    found = np.concatenate([np.arange(part.start, part.stop) for part in parts] or [np.empty(0)])
    assert sorted(found) == [*range(rows.start, rows.stop)]
    for chunk in chunks:
        part = inner[chunk.start]
        for row in range(part.start, part.stop):
            beside = range(max(row - 1, first), min(row + 2, stop))
            assert all(chunk.start <= each < chunk.stop for each in beside)
