"""Times libpcsr beside `Upscaler`, in one process, interleaved, with the same ONNX Runtime.

python -m benchmarks.libpcsr BUNDLE --library /usr/local/lib/libpcsr.so.0
"""

import statistics
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import click
from tabulate import tabulate

from benchmarks.environment import pin
from pcsr.cli import command_errors
from pcsr.text import parse_size

if TYPE_CHECKING:
    from pcsr import Upscaler

    from .library import LibraryUpscaler

Timed = Callable[[], float]
"""Makes a call; returns its microseconds outside of the stages that compute."""
Row = tuple[str, ...]
COMPUTING = ("backbone", "classifier", "routing", "compose", "refinement", "convert")
HEAD = (
    "case",
    "Python ms",
    "libpcsr ms",
    "libpcsr / Python",
    "Python's own us",
    "libpcsr's own us",
)


def of_python(upscaler: "Upscaler", image: Any) -> Timed:  # noqa: ANN401
    """Times `Upscaler` with an image."""

    def call() -> float:
        start = perf_counter()
        stats = upscaler(image).stats
        took = 1000 * (perf_counter() - start)
        own = ("prepare", "alpha")
        return 1000 * (took - sum(ms for name, ms in stats.stage_ms.items() if name not in own))

    return call


def of_library(upscaler: "LibraryUpscaler", image: Any, scale: int) -> Timed:  # noqa: ANN401
    """Times the library with an image."""
    run = upscaler.prepared(image, scale)

    def call() -> float:
        start = perf_counter()
        run()
        took = 1000 * (perf_counter() - start)
        done = upscaler.statistics
        computing: float = sum(getattr(done, f"{name}_ms") for name in COMPUTING)
        upsampling: float = sum(done.upsampler_ms)
        return 1000 * (took - computing - upsampling)

    return call


def compared(case: str, python: Timed, library: Timed, rounds: int) -> Row:
    """Calls both in every round, in either order; three rounds before them do not count."""
    from pcsr.runtime.profiler.measuring.rounds import Pace, turns

    calls = {"python": python, "library": library}
    times: dict[str, list[float]] = {name: [] for name in calls}
    own: dict[str, list[float]] = {name: [] for name in calls}
    for name, number in turns(list(calls), Pace(rounds, warm_ups=3)):
        start = perf_counter()
        outside = calls[name]()
        if number >= 0:
            times[name].append(1000 * (perf_counter() - start))
            own[name].append(outside)
    pairs = zip(times["library"], times["python"], strict=True)
    ms = [f"{statistics.median(times[name]):.3f}" for name in calls]
    ratio = f"{statistics.median(a / b for a, b in pairs):.3f}"
    return case, *ms, ratio, *(f"{statistics.median(own[name]):.0f}" for name in calls)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("bundle", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--library", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--size", "sizes", multiple=True, default=("32x32", "420x276"), show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=50, show_default=True)
@click.option("--threads", type=click.IntRange(1), default=2, show_default=True)
@command_errors
def main(bundle: Path, library: Path, sizes: tuple[str, ...], rounds: int, threads: int) -> None:
    """Time the first image after opening, then calls of each WIDTHxHEIGHT."""
    pin(threads)
    from benchmarks.image import sample_image
    from pcsr import Upscaler

    from .library import LibraryUpscaler, onnxruntime_library

    onnxruntime = onnxruntime_library()
    small = sample_image((32, 32))
    python = Upscaler(bundle, backend="native", threads=threads)
    scale = int(python.scale)

    def first_of_python() -> float:
        with Upscaler(bundle, backend="native", threads=threads) as opened:
            return of_python(opened, small)()

    def first_of_library() -> float:
        with LibraryUpscaler(library, bundle, onnxruntime, threads) as opened:
            return of_library(opened, small, scale)()

    rows = [compared("open, first 32x32", first_of_python, first_of_library, max(1, rounds // 5))]
    with LibraryUpscaler(library, bundle, onnxruntime, threads) as opened:
        for size in sizes:
            image = sample_image(parse_size(size))
            calls = (of_python(python, image), of_library(opened, image, scale))
            rows.append(compared(size, *calls, rounds))
    click.echo(tabulate(rows, HEAD, tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()
