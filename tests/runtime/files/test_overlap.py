"""Reading, computing and writing of a batch at the same time, in order, and at most one apart."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pcsr import Upscaler, images
from pcsr.errors import ImageError
from pcsr.runtime.files.batch import UpscaleOptions, upscale_files
from pcsr.runtime.files.jobs import plan_jobs
from pcsr.runtime.files.overlap import (
    AHEAD,
    MOST_THREADS,
    io_threads,
    map_ahead,
    read_ahead,
    side_by_side,
    write_behind,
)
from tests.commands import assert_clean, end, snapshot, start, upscale

from .pictures import picture, size_of
from .test_process import some_is_written, wait_for

PATIENCE_S = 20


class Steps:
    """What happened so far; others can wait for it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.done: list[str] = []

    def note(self, step: str) -> None:
        with self._changed:
            self.done.append(step)
            self._changed.notify_all()

    def wait_for(self, step: str) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: step in self.done, PATIENCE_S), step


def spied(steps: Steps, name: str, function: Callable[..., Any], of: int) -> Callable[..., Any]:
    """The function, its start and end noted with the name of the file in argument `of`."""

    def spy(*args: Any, **options: Any) -> Any:  # noqa: ANN401
        steps.note(f"{name} {args[of].stem}")
        found = function(*args, **options)
        steps.note(f"{name} {args[of].stem} ended")
        return found

    return spy


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Four pictures."""
    for name in "abcd":
        picture(tmp_path / "in" / f"{name}.png")
    return tmp_path / "in"


def test_images_are_read_and_written_while_one_is_computed(
    album: Path, carn_like_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps, upscaler, names = Steps(), Upscaler(carn_like_bundle), iter("abcd")
    write = images.write

    def slow_write(written: images.Picture, path: Path, *options: Any) -> None:  # noqa: ANN401
        if path.stem != "d":
            steps.wait_for(f"compute {chr(ord(path.stem) + 1)}")
        write(written, path, *options)

    def compute(pixels: Any, *options: Any) -> Any:  # noqa: ANN401
        name = next(names)
        steps.note(f"compute {name}")
        if name != "d":
            steps.wait_for(f"read {chr(ord(name) + 1)} ended")
        found = Upscaler.__call__(upscaler, pixels, *options)
        steps.note(f"compute {name} ended")
        return found

    monkeypatch.setattr(images, "read", spied(steps, "read", images.read, 0))
    monkeypatch.setattr(images, "write", spied(steps, "write", slow_write, 1))
    monkeypatch.setattr(
        "pcsr.runtime.files.batch._Stages._upscale", lambda self, _, p, __: compute(p)
    )
    jobs = plan_jobs([album], tmp_path / "out").jobs
    for done in upscale_files(upscaler, jobs, UpscaleOptions()):
        steps.note(f"done {done.job.source.stem}")
        assert done.error is None
        assert done.job.target.exists()
    at = steps.done.index
    assert at("read b") < at("write a") < at("compute b") < at("write a ended") < at("done a")
    assert at("compute a ended") < at("read c"), "one ahead, no more"
    assert at("write a ended") < at("write b"), "one behind, no more"
    order = [step for step in steps.done if step.startswith("done")]
    assert order == ["done a", "done b", "done c", "done d"]


def test_errors_stay_with_their_files(
    album: Path, carn_like_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (album / "b.png").write_bytes(b"")
    write = images.write

    def failing(written: images.Picture, path: Path, *options: Any) -> None:  # noqa: ANN401
        if path.stem == "c":
            raise MemoryError
        write(written, path, *options)

    monkeypatch.setattr(images, "write", failing)
    ended = upscale(carn_like_bundle, album, tmp_path / "out")
    assert ended.code == 1
    assert ended.complaints[4].startswith("2 done, 2 failed in ")
    found = [line.rsplit("/")[-1][:12] for line in ended.complaints[:4]]
    assert [text[0] for text in found] == ["a", "b", "c", "d"]
    assert "c.png; use --tile 64" in ended.complaints[2]
    assert list(snapshot(tmp_path / "out")) == ["a.png", "d.png"]


def test_leaving_early_leaves_no_file_and_no_thread(
    album: Path, carn_like_bundle: Path, tmp_path: Path
) -> None:
    jobs = plan_jobs([album], tmp_path / "out").jobs
    results = upscale_files(Upscaler(carn_like_bundle), jobs, UpscaleOptions())
    assert next(results).job.source.stem == "a"
    results.close()
    assert list(snapshot(tmp_path / "out")) == ["a.png"]
    assert not [t for t in threading.enumerate() if t.name.startswith(("pcsr-read", "pcsr-write"))]


def test_ctrl_c_reports_what_was_written() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise KeyboardInterrupt

    written = write_behind(items(), lambda item: -item)
    assert [next(written), next(written)] == [-1, -2]
    with pytest.raises(KeyboardInterrupt):
        next(written)


def test_the_last_is_written_by_the_caller() -> None:
    threads = list(write_behind(range(3), lambda _: threading.current_thread(), 3))
    assert threads[2] is threading.current_thread()
    assert threads[0] is threads[1] is not threads[2]


@pytest.mark.parametrize("count", [None, 7])
def test_several_threads_write_at_once_and_results_keep_their_order(count: int | None) -> None:
    together = threading.Barrier(3)

    def write(item: int) -> int:
        if item < 6:
            together.wait(PATIENCE_S)
        return -item

    assert list(write_behind(range(7), write, count, threads=3)) == [-n for n in range(7)]


def test_what_several_threads_have_begun_is_yielded_after_ctrl_c() -> None:
    def items() -> Iterator[int]:
        yield from (1, 2)
        raise KeyboardInterrupt

    written = write_behind(items(), lambda item: -item, threads=3)
    assert [next(written), next(written)] == [-1, -2]
    with pytest.raises(KeyboardInterrupt):
        next(written)


def test_several_threads_read_at_once_and_no_more_than_are_asked_for() -> None:
    together, begun = threading.Barrier(3), list[int]()

    def read(item: int) -> int:
        begun.append(item)
        together.wait(PATIENCE_S)
        return -item

    ahead = map_ahead(read, range(6), threads=3)
    assert next(ahead) == 0
    assert max(begun) <= 4
    assert list(ahead) == [-1, -2, -3, -4, -5]


def test_a_gpu_has_several_threads_beside_it() -> None:
    assert io_threads("cpu", 16) == 1
    assert io_threads("cuda:0", 4) == 4
    assert io_threads("cuda", 64) == MOST_THREADS
    assert io_threads("cuda:0", 6, devices=2) == 6
    assert io_threads("cuda:0", 1, devices=4) == 4


def test_errors_of_the_reader_arrive() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ImageError("damaged")

    ahead = read_ahead(items())
    assert next(ahead) == 1
    with pytest.raises(ImageError, match="damaged"):
        next(ahead)
    assert list(read_ahead(range(0))) == []


@pytest.mark.skipif(sys.platform != "linux", reason="signals of Linux")
def test_ctrl_c_while_one_is_written_and_one_computed(
    carn_like_bundle: Path, tmp_path: Path
) -> None:
    sources = [picture(tmp_path / name, size=(600, 900)) for name in ("a.png", "b.png")]
    out = tmp_path / "out"
    process = start("pcsr-upscale", carn_like_bundle, *sources, out)
    wait_for(lambda: some_is_written(out))
    process.send_signal(signal.SIGINT)
    ended = end(process)
    assert_clean(ended)
    assert ended.code == 130
    assert "a.png: 3600x2400" in ended.complaints[0], "it was finished, and said so"
    assert ended.complaints[1:] == ["interrupted; nothing half-written was left behind"]
    assert list(snapshot(out)) == ["a.png"]
    assert size_of(out / "a.png") == (2400, 3600)


class FakeDevice:
    """Lets a test see which numbers it works on, and hold one back."""

    def __init__(self, name: str) -> None:
        self.name, self.items, self.is_busy = name, list[int](), False


def made_by(device: FakeDevice, item: int) -> tuple[str, int]:
    assert not device.is_busy
    device.is_busy = True
    device.items.append(item)
    device.is_busy = False
    return device.name, item


def test_each_item_is_made_on_the_device_that_is_free_and_yielded_in_order() -> None:
    both, slow = threading.Barrier(2, timeout=PATIENCE_S), threading.Event()
    first, second = FakeDevice("first"), FakeDevice("second")

    def make(device: FakeDevice, item: int) -> tuple[str, int]:
        if item < 2:
            both.wait()  # breaks unless both devices are at work
        if item == 0:
            assert slow.wait(PATIENCE_S)
        if item == 3:
            slow.set()  # three items of the other device went by
        return made_by(device, item)

    found = list(side_by_side(range(8), make, [first, second], threading.Event()))
    assert [item for _, item in found] == list(range(8))
    assert {*first.items} | {*second.items} == {*range(8)}
    held = {item: name for name, item in found}
    assert held[0] not in (held[1], held[2], held[3])


def test_no_more_is_begun_than_the_devices_need() -> None:
    begun = list[int]()

    def items() -> Iterator[int]:
        for item in range(20):
            begun.append(item)
            yield item

    devices = [FakeDevice("first"), FakeDevice("second")]
    found = side_by_side(items(), made_by, devices, threading.Event())
    for number, _ in enumerate(found):
        assert len(begun) <= number + 2 * AHEAD


def test_leaving_stops_what_the_devices_do_and_begins_nothing() -> None:
    stopped, at_work, begun = threading.Event(), threading.Event(), list[int]()

    def make(_: str, item: int) -> int:
        begun.append(item)
        if item:
            at_work.set()
            assert stopped.wait(PATIENCE_S)
            raise KeyboardInterrupt
        return item

    found = side_by_side(range(9), make, ["first", "second"], stopped)
    assert next(found) == 0
    assert at_work.wait(PATIENCE_S)
    found.close()
    assert len(begun) <= 3
    assert not [t for t in threading.enumerate() if t.name.startswith("pcsr-device")]


def test_files_are_spread_over_devices(
    album: Path, carn_like_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upscalers = [Upscaler(carn_like_bundle) for _ in range(2)]
    both, used = threading.Barrier(2, timeout=PATIENCE_S), list[Upscaler]()
    run = Upscaler.run

    def running(self: Upscaler, *options: Any) -> Any:  # noqa: ANN401
        used.append(self)
        if len(used) <= 2:
            both.wait()
        return run(self, *options)

    monkeypatch.setattr(Upscaler, "run", running)
    (album / "b.png").write_bytes(b"")
    jobs = plan_jobs([album], tmp_path / "out").jobs
    done = list(upscale_files(upscalers, jobs, UpscaleOptions()))
    assert [(one.job.source.stem, one.error is None) for one in done] == [
        *(("a", True), ("b", False), ("c", True), ("d", True))
    ]
    assert {id(one) for one in used} == {id(one) for one in upscalers}
    monkeypatch.undo()
    for name in "acd":
        expected = upscalers[0](images.read(album / f"{name}.png", 10**6).pixels).image
        found = images.read(tmp_path / "out" / f"{name}.png", 10**6).pixels
        assert (found == expected).all()


def test_the_command_opens_the_bundle_on_each_device(
    album: Path, carn_like_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, init = list[str](), Upscaler.__init__

    def opening(self: Upscaler, bundle: Path, device: str, *rest: Any, **more: Any) -> None:  # noqa: ANN401
        opened.append(device)
        init(self, bundle, "cpu", *rest, **more)
        self.device = device

    expected = upscale(carn_like_bundle, album, tmp_path / "one")
    monkeypatch.setattr(Upscaler, "__init__", opening)
    ended = upscale(carn_like_bundle, album, tmp_path / "two", "--device", "cuda:0, cuda:1")
    assert (ended.code, expected.code) == (0, 0)
    assert opened == ["cuda:0", "cuda:1"]
    assert [line[:8] for line in ended.complaints[:2]] == ["cuda:0: ", "cuda:1: "]
    assert snapshot(tmp_path / "two") == snapshot(tmp_path / "one")
