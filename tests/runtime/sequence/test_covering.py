"""Changed blocks: found, and covered with few rectangles."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pcsr.runtime.geometry.tiling import Window
from pcsr.runtime.sequence.changes import BLOCK_PX, changed_blocks, mixed, window_of
from pcsr.runtime.sequence.covering import covering
from pcsr.runtime.sequence.patches import pieces


def covered(boxes: list[Window], shape: tuple[int, ...]) -> np.ndarray:
    times = np.zeros(shape, dtype=int)
    for box in boxes:
        times[box] += 1
    return times


@given(
    blocks=arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12))),
    margin=st.floats(0, 5),
    each=st.floats(0.1, 20),
)
def test_boxes_cover_what_is_set_once(blocks: np.ndarray, margin: float, each: float) -> None:
    boxes = covering(blocks, margin, each)
    times = covered(boxes, blocks.shape)
    assert times.max() <= 1
    assert times[blocks].all()
    work = sum((r.stop - r.start + 2 * margin) * (c.stop - c.start + 2 * margin) for r, c in boxes)
    whole = (blocks.shape[0] + 2 * margin) * (blocks.shape[1] + 2 * margin)
    assert work + each * len(boxes) <= whole + each + 1e-6


def test_boxes_that_are_far_apart_stay_apart() -> None:
    blocks = np.zeros((40, 60), dtype=np.bool_)
    blocks[2:4, 3:6] = blocks[30:33, 50:59] = blocks[2, 40] = True
    found = {(r.start, r.stop, c.start, c.stop) for r, c in covering(blocks, 2, 5)}
    assert found == {(2, 4, 3, 6), (30, 33, 50, 59), (2, 3, 40, 41)}
    assert len(covering(blocks, 2, 1e9)) == 1
    assert len(covering(blocks, 100, 5)) == 1
    assert covering(np.zeros((3, 4), dtype=np.bool_), 2, 5) == []


@pytest.mark.parametrize("shape", [(16, 24, 3), (17, 23, 3), (9, 31), (1, 1, 4), (5, 8, 1)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_each_pixel_is_seen(shape: tuple[int, ...], dtype: type[np.generic]) -> None:
    before = np.ones(shape, dtype=dtype)
    assert not changed_blocks(before, before.copy()).any()
    for i in range(0, shape[0], 4):
        for j in range(shape[1]):
            after = before.copy()
            after.reshape(*shape[:2], -1)[i, j, -1] += 1
            found = changed_blocks(before, after)
            assert np.argwhere(found).tolist() == [[i // BLOCK_PX, j // BLOCK_PX]]
            assert (mixed(before, after, found) == after).all()
            assert (mixed(before, after, ~found) == before).all()


def test_the_sign_of_zero_is_a_change() -> None:
    before = np.zeros((8, 8, 3), np.float32)
    assert changed_blocks(before, -before).all()
    assert not changed_blocks(before, -before, 1).any()


def test_nan_is_a_change() -> None:
    before = np.zeros((8, 8, 3), np.float32)
    after = before.copy()
    after[3, 3] = np.nan
    assert changed_blocks(before, after, 255).all()


def test_levels_are_those_of_8_bits() -> None:
    for dtype, level in ((np.uint8, 1.0), (np.uint16, 257.0), (np.float32, 1 / 255)):
        before = np.full((8, 8), 100 * level).astype(dtype)
        for step in (-3, 3):
            after = np.full((8, 8), (100 + step) * level).astype(dtype)
            assert not changed_blocks(before, after, 3.01).any()
            assert changed_blocks(before, after, 2.99).all()


@given(
    height=st.integers(1, 300),
    width=st.integers(1, 300),
    halo=st.integers(0, 20),
    most=st.integers(100, 20_000),
)
def test_pieces_cover_a_window_once(height: int, width: int, halo: int, most: int) -> None:
    found = list(pieces((slice(3, 3 + height), slice(5, 5 + width)), halo, most))
    times = covered(found, (height + 3, width + 5))
    assert (times[3:, 5:] == 1).all()
    assert times.sum() == height * width
    for rows, columns in found:
        sides = (rows.stop - rows.start, columns.stop - columns.start)
        seen = (sides[0] + 4 * halo) * (sides[1] + 4 * halo)
        assert seen <= most or max(sides) <= max(1, 4 * halo)


def test_the_last_blocks_end_with_the_frame() -> None:
    assert window_of((slice(1, 3), slice(0, 2)), (21, 13)) == (slice(8, 21), slice(0, 13))
