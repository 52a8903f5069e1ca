"""Frames at once: they do not wait for each other, are the same, and cost nothing more."""

import gc
import statistics
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import vapoursynth as vs

from pcsr import Upscaler
from pcsr.runtime.sequence.frames import FrameSequence
from pcsr.vapoursynth import upscale
from pcsr.vapoursynth.pool import PerFrame, share_of_cores

from .clips import clip_of, core, image, pixels

ROUNDS, ATTEMPTS = 7, 4
LEAST = 0.8  # of the frames per second of Upscaler; on a quiet machine it is 0.93 to 0.99


@pytest.fixture
def eight_threads() -> Iterator[None]:
    before, core.num_threads = core.num_threads, 8
    yield
    core.num_threads = before


@pytest.mark.parametrize("routing_map", [False, True])
@pytest.mark.parametrize("count", [2, 8])
@pytest.mark.usefixtures("eight_threads")
def test_frames_at_once_are_the_same(shipped: str, count: int, routing_map: bool) -> None:
    clip = clip_of(vs.RGB24, (60, 80), 16)
    made = upscale(clip, shipped, 2.5, adaptive=True, routing_map=routing_map)
    first = made[0] if isinstance(made, tuple) else made
    upscaler = Upscaler(shipped)
    for start in range(0, 16, count):
        numbers = range(start, start + count)
        for n, future in [(n, first.get_frame_async(n)) for n in numbers]:
            with future.result() as frame:
                found = np.stack([np.asarray(frame[plane]) for plane in range(3)], axis=2)
                expected = upscaler(image(n, (60, 80), clip.format), 2.5, adaptive=True)
                assert np.array_equal(found, expected.image)
                assert frame.props["PCSRHeavyShare"] == expected.stats.heavy_share
                assert frame.props["number"] == n


@pytest.mark.parametrize("numbers", [range(2), range(8), range(0, 64, 8)], ids=str)
@pytest.mark.usefixtures("eight_threads")
def test_frames_do_not_wait_for_each_other(
    shipped: str, numbers: range, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each waits until all are being computed."""
    all_there = threading.Barrier(len(numbers))
    run = FrameSequence.__call__

    def slow(self: FrameSequence, *args: Any) -> Any:  # noqa: ANN401
        all_there.wait(timeout=60)
        return run(self, *args)

    monkeypatch.setattr(FrameSequence, "__call__", slow)
    made = upscale(clip_of(vs.GRAY8, (9, 9), 64), shipped)
    for future in [made.get_frame_async(n) for n in numbers]:
        future.result().close()


@pytest.mark.usefixtures("eight_threads")
def test_a_frame_is_computed_once_for_image_and_map(
    shipped: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    run = FrameSequence.__call__

    def counted(self: FrameSequence, *args: Any) -> Any:  # noqa: ANN401
        calls.append(1)
        return run(self, *args)

    monkeypatch.setattr(FrameSequence, "__call__", counted)
    made, routing = upscale(clip_of(vs.RGB24, (30, 40), 24), shipped, routing_map=True)
    both = core.std.StackVertical([made.std.ShufflePlanes(0, vs.GRAY), routing])
    for frame in both.frames(prefetch=8, close=True):
        assert frame.height == 240
    assert len(calls) == 24


def test_the_map_fits_as_a_mask(shipped: str) -> None:
    made, routing = upscale(clip_of(vs.RGB24, (30, 40)), shipped, routing_map=True)
    black = made.std.BlankClip(keep=True)
    found = pixels(black.std.MaskedMerge(made, routing), 1)
    mask = pixels(routing, 1) == 255
    assert np.array_equal(found, pixels(made, 1) * mask[..., None])


def test_a_bundle_is_open_as_long_as_the_clip_lives(
    shipped: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[weakref.ref[Upscaler]] = []
    init = Upscaler.__init__

    def noted(self: Upscaler, *args: Any, **options: Any) -> None:  # noqa: ANN401
        init(self, *args, **options)
        opened.append(weakref.ref(self))

    monkeypatch.setattr(Upscaler, "__init__", noted)
    workers = _workers()
    both = upscale(clip_of(vs.RGB24, (90, 120)), shipped, routing_map=True)
    made = both[0].std.FlipVertical()
    for n in range(8):
        made.get_frame(n).close()
    assert len(opened) == 1
    assert opened[0]() is not None
    assert _workers() - workers
    del made, both
    gc.collect()
    assert opened[0]() is None
    assert _workers() <= workers


def test_many_frames_leave_nothing_behind(shipped: str) -> None:
    clip = core.std.BlankClip(format=vs.GRAY8, width=8, height=8, length=4000, keep=True)
    made = upscale(clip, shipped, 2, threads=1)
    core.std.SetVideoCache(made, mode=0)
    sizes = []
    for n, frame in enumerate(made.frames(close=True)):
        assert frame.width == 16
        if n % 1000 == 999:
            gc.collect()
            sizes.append(_resident_kib())
    assert sizes[-1] - sizes[0] < 4096, sizes  # 3000 frames, of which each makes two nodes


@pytest.mark.parametrize("prefetch", [2, 8])
def test_throughput(shipped: str, prefetch: int) -> None:
    """In interleaved rounds. The machine is not quiet: the best of some attempts counts."""
    size, length = (138, 210), 8
    clip = clip_of(vs.RGB24, size, length)
    images = [image(n, size, clip.format) for n in range(length)]
    made, upscaler = upscale(clip, shipped), Upscaler(shipped)
    core.std.SetVideoCache(made, mode=0)

    def serial() -> None:
        for each in images:
            upscaler(each)

    def filtered() -> None:
        for _ in made.frames(prefetch=prefetch, close=True):
            pass

    found = []
    for _ in range(ATTEMPTS):
        found.append(_ratio(serial, filtered))
        if found[-1] >= LEAST:
            break
    assert max(found) >= LEAST, found


def test_frames_share_the_cores() -> None:
    threads = share_of_cores(16)
    assert [threads(n) for n in (1, 2, 3, 4, 8, 9, 16, 99)] == [16, 8, 4, 4, 2, 1, 1, 1]
    assert [share_of_cores(2)(n) for n in (1, 2, 3)] == [2, 1, 1]
    opened: list[int] = []

    def opening(count: int) -> Any:  # noqa: ANN401
        opened.append(count)
        return count

    pool: Any = PerFrame(16, opening, threads)  # type: ignore[arg-type]
    for _ in range(3):
        with pool.lent() as alone:
            assert alone == 16
            with pool.lent() as second, pool.lent() as third:
                assert (second, third) == (8, 4)
    assert opened == [8, 4]


def _ratio(one: Callable[[], None], other: Callable[[], None]) -> float:
    """The time of the one over that of the other: medians of rounds, the first left out."""
    times: dict[Callable[[], None], list[float]] = {one: [], other: []}
    for _ in range(ROUNDS + 1):
        for call, taken in times.items():
            begin = time.perf_counter()
            call()
            taken.append(time.perf_counter() - begin)
    return statistics.median(times[one][1:]) / statistics.median(times[other][1:])


def _workers() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("pcsr")}


def _resident_kib() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])
