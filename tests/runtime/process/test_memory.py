"""Memory is used again, and never while somebody holds it."""

import threading
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pcsr.runtime.process import memory as reused
from pcsr.runtime.process.memory import ReusedMemory

LARGE = (64, 1024)


def address(array: NDArray[Any]) -> int:
    return int(array.__array_interface__["data"][0])


def test_memory_is_used_again_when_nobody_holds_a_view() -> None:
    memory = ReusedMemory()
    first = memory.take(LARGE, np.float32)
    first[:] = 7
    view, place = first[3:].reshape(-1)[5:], address(first)
    del first
    other = memory.take(LARGE, np.float32)
    assert address(other) != place
    assert (view == 7).all()
    del view
    assert address(memory.take(LARGE, np.float32)) == place
    assert address(memory.take((60, 1024), np.float32)) == place
    assert address(memory.take((2, 64, 1024), np.float32)) != place


@pytest.mark.parametrize(
    "kept",
    [
        memoryview,
        np.from_dlpack,
        lambda array: array.T[5:],
        lambda array: np.asarray(memoryview(array)),
        lambda array: np.broadcast_to(array, (2, *LARGE)),
        lambda array: array[3].flat,
    ],
)
def test_whatever_refers_to_memory_holds_it(kept: Callable[[Any], Any]) -> None:
    memory = ReusedMemory()
    first = memory.take(LARGE, np.float32)
    place, held = address(first), kept(first)
    del first
    other = memory.take(LARGE, np.float32)
    assert address(other) != place
    del held, other
    found = [memory.take(LARGE, np.float32) for _ in range(2)]
    assert place in map(address, found)


def test_views_refer_to_their_array() -> None:
    """Sequences count the references to an array, those of its views among them."""
    array = ReusedMemory().take(LARGE, np.float32)
    assert type(array) is np.ndarray
    assert array[3:].base is array
    assert array[3:].T[2:].base is array


def test_arrays_are_writable_and_begin_at_a_cache_line() -> None:
    memory = ReusedMemory()
    for shape, dtype in ((LARGE, np.float32), ((3, 99999), np.uint8), ((2, 3), np.uint16)):
        array = memory.take(shape, dtype)
        array[:] = 1
        assert array.shape == shape
        assert array.dtype == np.dtype(dtype)
        assert array.flags.c_contiguous
    assert address(memory.take((3, 99999), np.uint8)) % reused.CACHE_LINE == 0


def test_little_more_is_kept_than_was_held_at_once() -> None:
    memory, sizes = ReusedMemory(), np.random.default_rng(0).integers(2**16, 2**24, 300)
    tracemalloc.start()
    for size in sizes:
        memory.take((int(size),), np.uint8)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept <= 1.3 * sizes.max() + reused.SLACK_BYTES


def test_memory_that_is_not_there_does_not_count() -> None:
    memory = ReusedMemory()
    with pytest.raises(MemoryError):
        memory.take((2**50,), np.uint8)
    tracemalloc.start()
    for megabytes in range(1, 40):
        memory.take((megabytes * 2**20,), np.uint8)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept <= 1.3 * 39 * 2**20 + reused.SLACK_BYTES


def test_several_threads_hold_memory_of_their_own() -> None:
    memory, wrong = ReusedMemory(), list[int]()

    def work(number: int) -> None:
        for round_ in range(300):
            array = memory.take(LARGE, np.int32)
            array[:] = number * 1000 + round_
            wrong.extend(array[array != number * 1000 + round_].tolist())

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
