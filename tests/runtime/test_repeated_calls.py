"""Repeated calls take no new memory of a frame's size, and little time beside their computing."""

import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.small_calls.measured import report
from pcsr import Result, Upscaler
from pcsr.runtime.machine import resident_mib
from tests.memory import settled_mib
from tests.runtime.cpu.bf16 import ENGINES, opened_with, passed

SIZE, HR_SIZE = (120, 160), (480, 640)
PASSING_BYTES = 256 * 2**10
"""What two threads take for a moment, for chunks of pixels; the smallest array of a frame, its
assignment, has 300 KiB, and all have 14 MiB."""
FEW_BYTES = 16 * 2**10


@pytest.fixture(scope="module", params=["fp32", *ENGINES])
def upscaler(
    carn_like_bundle: Path, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Upscaler]:
    """In fp32, and in bf16 with each engine."""
    folder = tmp_path_factory.mktemp("bf16")
    if request.param == "fp32":
        with Upscaler(carn_like_bundle, backend="native", threads=2) as upscaler:
            yield upscaler
        return
    with opened_with(request.param, passed(carn_like_bundle, folder), 2, folder) as upscaler:
        yield upscaler


def picture(
    seed: int = 0, size: tuple[int, int] = SIZE
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def taken_bytes(call: Callable[[], object]) -> tuple[int, int]:
    """Python's and NumPy's memory at the peak of a call, and after it, over that before."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        call()
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return peak - before, after - before


def test_a_frame_takes_no_memory_after_the_first_ones(upscaler: Upscaler) -> None:
    out, image = np.empty((*HR_SIZE, 3), np.uint8), picture()

    def call() -> Result:
        return upscaler(image, k=0.5, out=out)

    for _ in range(4):  # until both threads have had their part
        call()
    peak, left = map(min, zip(*(taken_bytes(call) for _ in range(12)), strict=True))
    assert peak < PASSING_BYTES
    assert left < FEW_BYTES


def test_the_measurement_sees_an_array_of_a_frame() -> None:
    peak, _ = taken_bytes(lambda: np.empty(HR_SIZE, np.uint8))
    assert peak > PASSING_BYTES


@pytest.mark.parametrize(("size", "most"), [(SIZE, PASSING_BYTES), ((270, 480), 2**20)])
def test_results_up_to_1080p_take_memory_that_was_dropped(
    upscaler: Upscaler, size: tuple[int, int], most: int
) -> None:
    """The smallest array of 1080p has 2 MiB."""
    image = picture(0, size)
    for _ in range(4):
        upscaler(image)
    assert min(taken_bytes(lambda: upscaler(image))[0] for _ in range(5)) < most


def test_resident_memory_does_not_grow(upscaler: Upscaler) -> None:
    if resident_mib() is None:
        pytest.skip("this system does not say what is resident")
    out, found = np.empty((*HR_SIZE, 3), np.uint8), list[float]()
    for _ in range(2):
        for _ in range(15):
            upscaler(picture(), adaptive=True, out=out)
        found.append(settled_mib())
    assert found[1] - found[0] < 32  # the frames of 15 calls have 210


def test_results_that_are_held_never_change(upscaler: Upscaler) -> None:
    held = [upscaler(picture(seed)) for seed in range(4)]
    names = ("image", "assignment", "difficulty")
    frozen = [{name: np.array(getattr(one, name)) for name in names} for one in held]
    views = [one.image[3:, ::2] for one in held]
    del held[1]
    for seed in range(4, 12):
        upscaler(picture(seed), adaptive=True)
    for one, copies in zip(held, [frozen[0], *frozen[2:]], strict=True):
        for name in names:
            assert np.array_equal(getattr(one, name), copies[name])
    assert np.array_equal(views[1], frozen[1]["image"][3:, ::2])


def test_small_calls_take_little_more_than_their_computing(carn_like_bundle: Path) -> None:
    """Some 0.2 ms, 0.6 while NumPy routed and counted, and 2 ms before sizes were
    kept; the bound is for busy ones, and of the process's own time.
    """
    found = report(str(carn_like_bundle), (16, 16), threads=1, rounds=60)
    assert found["overhead_us"]["CPU"] < 800
    assert found["ms"]["call"]["min"] >= found["ms"]["bare parts"]["min"] * 0.8


def test_a_size_is_prepared_once(upscaler: Upscaler, monkeypatch: pytest.MonkeyPatch) -> None:
    from pcsr.runtime.geometry.grid import Grid

    upscaler(picture(), 3)
    monkeypatch.setattr(Grid, "make", None)
    start = time.perf_counter()
    upscaler(picture(1), 3, adaptive=True)
    assert time.perf_counter() > start
    with pytest.raises(TypeError):
        upscaler(picture(), 3.5)
