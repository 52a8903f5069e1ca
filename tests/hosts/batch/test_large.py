"""A large image in parts, on workers that may be lost: the file is that of one process."""

import os
import signal
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pcsr import ImageError, OutputError, Upscaler, images, upscale_file
from pcsr.batch import large
from pcsr.batch.large import (
    PartTask,
    cut_if_large,
    in_process,
    on_workers,
    part_count,
    part_workers,
    upscale_parts,
)
from pcsr.runtime.files import batch
from pcsr.runtime.result import Stats
from pcsr.runtime.routing.request import RoutingRequest

ADAPTIVE = RoutingRequest(adaptive=True)
SIZE = (300, 220)


@pytest.fixture(autouse=True)
def low_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """What counts as large: more than 2**18 output pixels."""
    for module in (batch, large):
        monkeypatch.setattr(module, "STREAMED_PIXELS", 2**18)
    monkeypatch.setattr(large, "PART_PIXELS", 2**16)


def picture(size: tuple[int, int] = SIZE, channels: int | None = 3) -> NDArray[np.uint8]:
    shape = size if channels is None else (*size, channels)
    pixels = np.random.default_rng(size).integers(0, 256, shape, np.uint8)
    pixels[:, : size[1] // 2] //= 8
    return pixels


@pytest.fixture
def upscaler(three_way_bundle: Path) -> Upscaler:
    return Upscaler(three_way_bundle, threads=1)


@pytest.mark.parametrize("suffix", ["png", "tif", "jpg", "webp"])
@pytest.mark.parametrize("channels", [None, 3])
def test_the_file_is_that_of_the_command(
    upscaler: Upscaler, tmp_path: Path, suffix: str, channels: int | None
) -> None:
    source = tmp_path / "large.png"
    images.write(images.Picture(picture(channels=channels)), source)
    stats = upscale_file(upscaler, source, tmp_path / f"whole.{suffix}", adaptive=True)
    read = images.read(source, 10**6)
    cut = cut_if_large(upscaler, read, None, ADAPTIVE, workers=2)
    assert cut
    assert len(cut.parts) == 18
    run = in_process(upscaler, read.pixels)
    found = upscale_parts(read, cut, run, tmp_path / f"parts.{suffix}")
    whole, parts = ((tmp_path / f"{name}.{suffix}").read_bytes() for name in ("whole", "parts"))
    assert parts == whole
    assert isinstance(stats, Stats)
    assert found.pixels_per_upsampler == stats.pixels_per_upsampler
    assert found.threshold == stats.threshold


@pytest.mark.parametrize(
    ("pixels", "workers", "reason"),
    [
        (picture((100, 100)), 2, None),
        (picture(), 1, None),
        (picture().astype(np.float32) / 255, 2, None),
        (picture(channels=4), 2, "with alpha"),
    ],
    ids=["small", "one worker", "float", "alpha"],
)
def test_what_is_computed_whole(
    upscaler: Upscaler,
    pixels: NDArray[Any],
    workers: int,
    reason: str | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert cut_if_large(upscaler, images.Picture(pixels), None, ADAPTIVE, workers) is None
    assert reason is None or f"computed whole: an image {reason}" in caplog.text


def test_other_backends_compute_it_whole(
    three_way_bundle: Path, caplog: pytest.LogCaptureFixture
) -> None:
    upscaler = Upscaler(three_way_bundle, backend="onnxruntime")
    assert cut_if_large(upscaler, images.Picture(picture()), None, ADAPTIVE, 2) is None
    assert "computed whole: backend onnxruntime holds a PCSR image whole" in caplog.text


@pytest.mark.parametrize(
    ("pixels", "workers", "count"), [(2**16, 4, 8), (2**19, 4, 8), (2**19 + 1, 4, 12), (10, 2, 4)]
)
def test_parts_are_as_many_for_each_worker(pixels: int, workers: int, count: int) -> None:
    assert part_count(pixels, workers) == count


def test_a_part_that_fails_leaves_nothing(upscaler: Upscaler, tmp_path: Path) -> None:
    read = images.Picture(picture())
    cut = cut_if_large(upscaler, read, None, RoutingRequest(), 2)
    assert cut

    def run(tasks: Iterable[PartTask]) -> Iterator[Any]:
        yield from list(in_process(upscaler, read.pixels)(tasks))[:3]
        raise ImageError("no more")

    with pytest.raises(ImageError, match="no more"):
        upscale_parts(read, cut, run, tmp_path / "out.png")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "out.png").touch()
    with pytest.raises(OutputError, match=r"out\.png exists"):
        upscale_parts(read, cut, run, tmp_path / "out.png")


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """A cluster on this machine, with room for two actors."""
    from pcsr.batch.cluster import connected

    with connected("local") as module:
        yield module


@pytest.fixture(scope="module")
def workers(ray: Any, three_way_bundle: Path) -> Iterator[Sequence[Any]]:  # noqa: ANN401
    with part_workers(ray, three_way_bundle, {"threads": 1}, count=2) as actors:
        yield actors


def test_workers_give_the_file_of_one_process(
    ray: Any,  # noqa: ANN401
    workers: Sequence[Any],
    upscaler: Upscaler,
    tmp_path: Path,
) -> None:
    read = images.Picture(picture())
    for request in (ADAPTIVE, RoutingRequest(heavy_ratio=0.2)):
        cut = cut_if_large(upscaler, read, 2.5, request, len(workers))
        assert cut
        whole = upscaler.run(read.pixels, 2.5, request)
        stats = upscale_parts(
            read, cut, on_workers(ray, workers, read.pixels), tmp_path / "out.png", overwrite=True
        )
        found = images.read(tmp_path / "out.png", 10**7).pixels
        assert np.array_equal(found, whole.image)
        assert stats.pixels_per_upsampler == whole.stats.pixels_per_upsampler


def test_a_worker_that_is_killed_loses_nothing(
    ray: Any,  # noqa: ANN401
    workers: Sequence[Any],
    upscaler: Upscaler,
    tmp_path: Path,
) -> None:
    read = images.Picture(picture((900, 220)))
    cut = cut_if_large(upscaler, read, None, ADAPTIVE, len(workers))
    assert cut
    first = ray.get(workers[0].pid.remote())
    killed: list[int] = []
    on_them = on_workers(ray, workers, read.pixels)

    def run(tasks: Iterable[PartTask]) -> Iterator[Any]:
        for number, result in enumerate(on_them(tasks)):
            if number == 3 and not killed and hasattr(result, "pixels"):
                os.kill(first, signal.SIGKILL)
                killed.append(first)
            yield result

    upscale_parts(read, cut, run, tmp_path / "out.png")
    assert killed
    assert ray.get(workers[0].pid.remote()) != first
    whole = upscaler.run(read.pixels, None, ADAPTIVE)
    assert np.array_equal(images.read(tmp_path / "out.png", 10**7).pixels, whole.image)


def test_a_part_that_is_refused_ends_the_image(
    ray: Any,  # noqa: ANN401
    workers: Sequence[Any],
    upscaler: Upscaler,
    tmp_path: Path,
) -> None:
    read = images.Picture(picture())
    cut = cut_if_large(upscaler, read, None, ADAPTIVE, len(workers))
    assert cut
    with pytest.raises(ImageError, match="expected rows 0 to"):
        upscale_parts(read, cut, on_workers(ray, workers, read.pixels[:, 1:]), tmp_path / "out.png")
    assert list(tmp_path.iterdir()) == []


def test_few_parts_are_under_way_at_once(
    upscaler: Upscaler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Results that nobody has taken stay few, however slow the encoder is."""
    read = images.Picture(picture())
    cut = cut_if_large(upscaler, read, None, RoutingRequest(), 2)
    assert cut
    ahead: list[int] = []
    sent, taken = [0], [0]

    class Remote:
        def remote(self, task: PartTask, pixels: NDArray[Any]) -> Any:  # noqa: ANN401
            sent[0] += 1
            ahead.append(sent[0] - taken[0])
            with upscaler.parts() as parts:
                return task(parts, pixels)

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

    run = on_workers(Ray, [Worker(), Worker()], read.pixels)
    upscale_parts(read, cut, run, tmp_path / "out.png")
    assert sent[0] == taken[0] == len(cut.parts)
    assert max(ahead) == 2 * large.AHEAD
