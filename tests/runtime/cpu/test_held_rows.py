"""Rows that wait for their neighbours, in memory that is used again."""

import numpy as np

from pcsr.runtime.cpu.held_rows import ArrayPool, HeldRows, ReusedArrays


def test_arrays_keep_their_place_unless_more_is_needed() -> None:
    arrays = ReusedArrays()
    first = arrays.take("rows", (4, 6), np.float32)
    assert np.shares_memory(arrays.take("rows", (3, 2), np.float32), first)
    assert not np.shares_memory(arrays.take("rows", (5, 6), np.float32), first)
    assert not np.shares_memory(arrays.take("others", (4, 6), np.float32), first)


def test_memory_is_lent_to_one_at_a_time() -> None:
    lender = ArrayPool()
    with lender.lent() as outer, lender.lent() as inner:
        assert outer is not inner
    with lender.lent() as again:
        assert again in (outer, inner)


def test_the_last_two_rows_are_held_before_the_next() -> None:
    held, row = HeldRows(ReusedArrays(), 0, 5), 0
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
