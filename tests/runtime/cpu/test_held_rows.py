"""Rows that wait for their neighbours."""

from pcsr.runtime.cpu.held_rows import HeldRows
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
