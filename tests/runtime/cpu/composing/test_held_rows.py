"""Rows that wait for their neighbours."""

import numpy as np

from pcsr.runtime.cpu.composing.held_rows import HeldRows
from pcsr.runtime.cpu.output import Rows
from pcsr.runtime.process.memory import ReusedMemory


def test_the_last_two_rows_are_held_before_the_next() -> None:
    held, row = HeldRows(ReusedMemory(), 0, 5), 0
    for rows, kept in ((1, 0), (2, 1), (4, 2), (1, 2)):
        held = held.followed_by(rows)
        assert held.planes.shape == (3, kept + rows, 5)
        for number in range(kept + rows):
            if number >= kept:
                held.planes[:, number] = held.labels[number] = held.difficulty[number] = row
                row += 1
            here = row - 1 if number >= kept else row - kept + number
            assert (held.planes[:, number] == here).all()
            assert (held.labels[number] == here).all()
            assert (held.difficulty[number] == here).all()


def test_labels_of_one_band_lie_in_the_result_at_once() -> None:
    target = Rows.empty((4, 5), np.dtype(np.uint8))
    held = HeldRows(ReusedMemory(), 4, 5, target)
    assert held.labels is target.assignment
    assert held.difficulty is target.difficulty
    held = HeldRows(ReusedMemory(), 5, 5, target)  # one row more than is finished
    assert held.labels.shape == held.difficulty.shape == (5, 5)
    assert not np.may_share_memory(held.labels, target.assignment)
