"""A large image in parts, on workers that may be lost: the file is that of one process."""

import os
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pcsr import Cancellation, CancelledError, ImageError, Upscaler, images, upscale_file
from pcsr.batch import large, parts
from pcsr.batch.large import PartWorkers, on_workers, part_workers
from pcsr.batch.packed import packed
from pcsr.batch.parts import PartsUpscaler, PartTask, Run, in_process, part_count, stream_parts
from pcsr.runtime.files import batch
from pcsr.runtime.parts import CutImage
from pcsr.runtime.result import Stats
from pcsr.runtime.routing.request import RoutingRequest
from tests.commands import end, start, upscale
from tests.runtime.files.pictures import picture as write_picture

from .test_jobs import results, rows

ADAPTIVE = RoutingRequest(adaptive=True)
SIZE = (300, 220)


@pytest.fixture(autouse=True)
def low_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """What counts as large: more than 2**18 output pixels."""
    for module in (batch, parts):
        monkeypatch.setattr(module, "STREAMED_PIXELS", 2**18)
    monkeypatch.setattr(parts, "PART_PIXELS", 2**16)


def picture(size: tuple[int, int] = SIZE, channels: int | None = 3) -> NDArray[np.uint8]:
    shape = size if channels is None else (*size, channels)
    pixels = np.random.default_rng(size).integers(0, 256, shape, np.uint8)
    pixels[:, : size[1] // 2] //= 8
    return pixels


def in_parts(bundle: Path, workers: int = 2, run: Any = None) -> PartsUpscaler:  # noqa: ANN401
    """An upscaler of parts; in this process, where nothing else is said."""
    upscaler = Upscaler(bundle, threads=1)
    return PartsUpscaler(bundle, run or partial(in_process, upscaler), workers, threads=1)


def cut_of(upscaler: PartsUpscaler, pixels: NDArray[Any], request: RoutingRequest) -> CutImage:
    with upscaler.parts() as lent:
        return lent.cut(pixels, None, request, part_count(16 * pixels[..., 0].size, 2))


@pytest.mark.parametrize("suffix", ["png", "tif", "jpg", "webp"])
@pytest.mark.parametrize("channels", [None, 3])
def test_the_file_is_that_of_the_command(
    three_way_bundle: Path, tmp_path: Path, suffix: str, channels: int | None
) -> None:
    source, seen = tmp_path / "large.png", list[int]()
    images.write(images.Picture(picture(channels=channels)), source)
    upscaler = Upscaler(three_way_bundle, threads=1)

    def counted(pixels: NDArray[Any]) -> Run:
        run = in_process(upscaler, pixels)

        def noted(tasks: Iterable[PartTask]) -> Iterator[Any]:
            results = list(run(tasks))
            seen.append(len(results))
            yield from results

        return noted

    stats = upscale_file(upscaler, source, tmp_path / f"whole.{suffix}", adaptive=True)
    found = upscale_file(
        in_parts(three_way_bundle, run=counted), source, tmp_path / f"parts.{suffix}", adaptive=True
    )
    assert seen == [18, 18]
    whole, joined = ((tmp_path / f"{name}.{suffix}").read_bytes() for name in ("whole", "parts"))
    assert joined == whole
    assert isinstance(stats, Stats)
    assert isinstance(found, Stats)
    assert found.pixels_per_upsampler == stats.pixels_per_upsampler
    assert found.threshold == stats.threshold


@pytest.mark.parametrize(
    ("pixels", "workers", "options", "reason"),
    [
        (picture((100, 100)), 2, {}, None),
        (picture(), 1, {}, None),
        (picture(), 2, {"backend": "onnxruntime"}, "backend onnxruntime holds a PCSR image whole"),
        (picture((16, 1100)), 2, {}, None),
    ],
    ids=["small", "one worker", "backend", "low"],
)
def test_what_is_computed_whole(
    three_way_bundle: Path,
    pixels: NDArray[Any],
    workers: int,
    options: dict[str, Any],
    reason: str | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def none(_: NDArray[Any]) -> Run:
        raise AssertionError("it is cut")

    upscaler = PartsUpscaler(three_way_bundle, none, workers, **options)
    rows: list[NDArray[Any]] = []
    upscaler.run_stream(pixels, rows.append, None, ADAPTIVE)
    whole = Upscaler(three_way_bundle, **options)(pixels, adaptive=True)
    assert np.array_equal(np.concatenate(rows), whole.image)
    assert ("computed whole" in caplog.text) == (reason is not None)
    assert reason is None or reason in caplog.text


@pytest.mark.parametrize(
    ("pixels", "workers", "count"), [(2**16, 4, 8), (2**19, 4, 8), (2**19 + 1, 4, 12), (10, 2, 4)]
)
def test_parts_are_as_many_for_each_worker(pixels: int, workers: int, count: int) -> None:
    assert part_count(pixels, workers) == count


def test_a_large_image_is_cancelled_between_two_parts(three_way_bundle: Path) -> None:
    cancellation = Cancellation()
    rows: list[NDArray[Any]] = []

    def take(part: NDArray[Any]) -> None:
        rows.append(part)
        if len(rows) == 3:
            cancellation.cancel()

    with pytest.raises(CancelledError):
        in_parts(three_way_bundle).run_stream(picture(), take, None, ADAPTIVE, cancellation)
    assert len(rows) == 3


def test_a_part_that_fails_leaves_nothing(three_way_bundle: Path, tmp_path: Path) -> None:
    upscaler = Upscaler(three_way_bundle, threads=1)

    def broken(pixels: NDArray[Any]) -> Run:
        def run(tasks: Iterable[PartTask]) -> Iterator[Any]:
            yield from list(in_process(upscaler, pixels)(tasks))[:3]
            raise ImageError("no more")

        return run

    source, target = tmp_path / "in.png", tmp_path / "out.png"
    images.write(images.Picture(picture()), source)
    with pytest.raises(ImageError, match="no more"):
        upscale_file(in_parts(three_way_bundle, run=broken), source, target)
    assert list(tmp_path.iterdir()) == [source]


@pytest.fixture(scope="module")
def ray(cluster: str) -> Any:  # noqa: ANN401
    """The module, connected to a cluster with room for two actors."""
    import ray

    return ray


def test_workers_that_find_no_room_are_left_out(
    ray: Any,  # noqa: ANN401
    three_way_bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(large, "START_S", 5)
    bundle = ray.put(packed(three_way_bundle))
    with part_workers(ray, bundle, {"threads": 1}, count=4) as found:
        assert len(found.actors) == 2  # as many as the cluster has cores
        rows: list[NDArray[Any]] = []
        upscaler = in_parts(three_way_bundle, run=partial(on_workers, ray, found))
        upscaler.run_stream(picture(), rows.append, None, RoutingRequest())
    whole = Upscaler(three_way_bundle, threads=1).run(picture(), None, RoutingRequest())
    assert np.array_equal(np.concatenate(rows), whole.image)


@pytest.fixture
def workers(ray: Any, three_way_bundle: Path) -> Iterator[PartWorkers]:  # noqa: ANN401
    bundle = ray.put(packed(three_way_bundle))
    with part_workers(ray, bundle, {"threads": 1}, count=2) as started:
        yield started


def test_workers_give_the_rows_of_one_process(
    ray: Any,  # noqa: ANN401
    workers: PartWorkers,
    three_way_bundle: Path,
) -> None:
    pixels, upscaler = picture(), Upscaler(three_way_bundle, threads=1)
    of_workers = in_parts(three_way_bundle, run=partial(on_workers, ray, workers))
    for request in (ADAPTIVE, RoutingRequest(heavy_ratio=0.2)):
        rows: list[NDArray[Any]] = []
        stats = of_workers.run_stream(pixels, rows.append, 2.5, request)
        whole = upscaler.run(pixels, 2.5, request)
        assert len(rows) > 2
        assert np.array_equal(np.concatenate(rows), whole.image)
        assert stats.pixels_per_upsampler == whole.stats.pixels_per_upsampler


def test_a_worker_that_is_killed_loses_nothing(
    ray: Any,  # noqa: ANN401
    workers: PartWorkers,
    three_way_bundle: Path,
) -> None:
    pixels, killed = picture((900, 220)), list[int]()
    rows: list[NDArray[Any]] = []
    first = ray.get(workers.actors[0].pid.remote())

    def take(part: NDArray[Any]) -> None:
        rows.append(part.copy())
        if len(rows) == 4:
            os.kill(first, signal.SIGKILL)
            killed.append(first)

    upscaler = in_parts(three_way_bundle, run=partial(on_workers, ray, workers))
    upscaler.run_stream(pixels, take, None, ADAPTIVE)
    assert killed
    assert ray.get(workers.actors[0].pid.remote()) != first
    whole = Upscaler(three_way_bundle, threads=1).run(pixels, None, ADAPTIVE)
    assert np.array_equal(np.concatenate(rows), whole.image)


def test_a_part_that_is_refused_ends_the_image(
    ray: Any,  # noqa: ANN401
    workers: PartWorkers,
    three_way_bundle: Path,
) -> None:
    cut = cut_of(in_parts(three_way_bundle), picture(), ADAPTIVE)
    rows: list[NDArray[Any]] = []
    with pytest.raises(ImageError, match="expected rows 0 to"):
        stream_parts(cut, on_workers(ray, workers, picture()[:, 1:]), rows.append)
    assert not rows


def test_few_parts_are_under_way_at_once(three_way_bundle: Path) -> None:
    """Results that nobody has taken stay few, however slow the encoder is."""
    upscaler = in_parts(three_way_bundle)
    cut = cut_of(upscaler, picture(), RoutingRequest())
    ahead: list[int] = []
    sent, taken = [0], [0]

    class Remote:
        def remote(self, task: PartTask, pixels: NDArray[Any], _: object) -> Any:  # noqa: ANN401
            sent[0] += 1
            ahead.append(sent[0] - taken[0])
            with upscaler.parts() as lent:
                return task(lent, pixels)

    class Worker:
        run = Remote()

    class Ray:
        @staticmethod
        def put(value: Any) -> Any:  # noqa: ANN401
            return value

        @staticmethod
        def get(value: Any) -> Any:  # noqa: ANN401
            taken[0] += 1
            return value

    rows: list[NDArray[Any]] = []
    stream_parts(
        cut, on_workers(Ray, PartWorkers([Worker(), Worker()], None), picture()), rows.append
    )
    assert sent[0] == taken[0] == len(cut.parts) == len(rows)
    assert max(ahead) == 2 * large.AHEAD


def part_workers_at_work() -> list[int]:
    """Processes that compute parts just now."""
    found = []
    for folder in Path("/proc").iterdir():
        with suppress(OSError):
            if (
                folder.name.isdecimal()
                and b"ray::PartWorker.run" in (folder / "cmdline").read_bytes()
            ):
                found.append(int(folder.name))
    return found


def test_a_job_with_a_large_image(cluster: str, three_way_bundle: Path, tmp_path: Path) -> None:
    """Its output has more than 2**26 pixels. One of those that compute its parts is killed."""
    source, out = tmp_path / "in", tmp_path / "out"
    write_picture(source / "large.jpg", size=(520, 512))
    write_picture(source / "small.jpg")
    options = ("--adaptive", "--scale", 16)
    engine = ("--engine", f"ray={cluster}", "--workers", 2, "--threads", 1)
    job = start("pcsr-upscale", three_way_bundle, source, out, *options, *engine)
    limit = time.monotonic() + 200
    while not (busy := part_workers_at_work()):
        assert job.poll() is None, job.communicate()
        assert time.monotonic() < limit
        time.sleep(0.02)
    os.kill(busy[0], signal.SIGKILL)
    ended = end(job, timeout_s=200)
    assert ended.code == 0, ended.stderr
    assert upscale(three_way_bundle, source, tmp_path / "one", *options).code == 0
    assert results(out) == results(tmp_path / "one")
    found = rows(out)
    assert {name: row["error"] for name, row in found.items()} == dict.fromkeys(found)
    assert sorted(found) == ["large.jpg", "small.jpg"]
    assert (found["large.jpg"]["width"], found["large.jpg"]["attempts"]) == (512 * 16, 1)
    assert not list(out.rglob(".pcsr-*"))
