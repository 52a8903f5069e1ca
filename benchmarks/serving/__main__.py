"""Times a running server beside `Upscaler` in this process, interleaved, by the number of clients.

make serve-demo  # for a bundle and a photo
.venv-tritonserver/bin/python -m benchmarks.serving demo/serving/fsrcnn-pcsr-x4 \\
    demo/serving/photo.png
"""

import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
import numpy as np
from tabulate import tabulate

from benchmarks.serving.callers import (
    Call,
    CudaMemory,
    Memory,
    Opening,
    Reading,
    by_client,
    by_shared_memory,
    latencies_ms,
)
from benchmarks.serving.server import Addresses, serving
from pcsr import images
from pcsr.cli import command_errors, progress
from pcsr.extras import needs_extra

MODEL, LIBRARY = "measured", "Upscaler"
COMMAND = Path(sys.executable).parent / "pcsr-serve"
HEAD = ("clients", "way", "images/s", "of Upscaler's", "p50 ms", "p95 ms")
Samples = dict[tuple[int, str], list[tuple[float, list[float]]]]
"""By clients and way: images per second and latencies of each round."""


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("bundle", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("photo", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--clients", multiple=True, type=click.IntRange(1), default=(1, 2, 4, 8))
@click.option("--seconds", type=float, default=2.5, show_default=True, help="Of each turn.")
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True)
@click.option("--device", default="cpu", show_default=True, help="Or cuda:0, the first GPU.")
@click.option("--precision", default="fp32", show_default=True)
@click.option("--option", multiple=True, help="Of pcsr-serve repository, as --option=--threads=1.")
@command_errors
def main(
    bundle: Path,
    photo: Path,
    clients: tuple[int, ...],
    seconds: float,
    rounds: int,
    device: str,
    precision: str,
    option: tuple[str, ...],
) -> None:
    """Serve BUNDLE, and have PHOTO upscaled by HTTP, by gRPC, and with shared memory; on a GPU with
    that of CUDA, too, where images stay on it.
    """
    from pcsr import Upscaler

    image = images.read(photo, max_pixels=2**24).pixels
    where: dict[str, Any] = {"device": device, "precision": precision}
    with tempfile.TemporaryDirectory() as folder, Upscaler(bundle, **where) as upscaler:
        models = Path(folder) / "models"
        opening = [f"--{name}={value}" for name, value in where.items()]
        named: list[str | Path] = ["--name", MODEL, "-o", models, *opening, *option]
        command = [COMMAND, "repository", bundle, *named]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        with serving(COMMAND, models, Path(folder) / "log") as addresses:
            ways = {LIBRARY: _in_process(upscaler, image), **_served(addresses, upscaler, image)}
            _check(ways)
            samples = _measured(ways, clients, seconds, rounds)
    click.echo(tabulate(_rows(samples), HEAD, tablefmt="github", disable_numparse=True))


def _in_process(upscaler: Any, image: Any) -> Opening:  # noqa: ANN401
    def opened(_stack: ExitStack, _number: int) -> Call:
        def call() -> Reading:
            found = upscaler(image).image
            return lambda: found

        return call

    return opened


def _served(addresses: Addresses, upscaler: Any, image: Any) -> dict[str, Opening]:  # noqa: ANN401
    with needs_extra("benchmarks.serving", "serve"):
        import tritonclient.grpc
        import tritonclient.http
    shape = upscaler(image).image.shape
    memories = {"gRPC, shared memory": Memory()}
    if upscaler.device != "cpu":
        memories["gRPC, CUDA shared memory"] = CudaMemory()
    shared = {
        name: by_shared_memory(tritonclient.grpc, addresses.grpc, MODEL, image, shape, memory)
        for name, memory in memories.items()
    }
    return {
        "HTTP": by_client(tritonclient.http, addresses.http, MODEL, image),
        "gRPC": by_client(tritonclient.grpc, addresses.grpc, MODEL, image),
        **shared,
    }


def _check(ways: dict[str, Opening]) -> None:
    """All of them have the same result."""
    results = []
    for opening in ways.values():
        with ExitStack() as stack:
            results.append(opening(stack, 0)()())
    if not all(np.array_equal(result, results[0]) for result in results):
        raise AssertionError(f"{' and '.join(ways)} differ")


def _measured(
    ways: dict[str, Opening], clients: tuple[int, ...], seconds: float, rounds: int
) -> Samples:
    """Lets each way have its turn in every round."""
    turns = [(count, way) for _ in range(rounds) for count in clients for way in ways]
    samples: Samples = {}
    with progress(turns, "turns", len(turns)) as items:
        for count, way in items:
            found, took = latencies_ms(ways[way], count, seconds)
            samples.setdefault((count, way), []).append((len(found) / took, found))
    return samples


def _rows(samples: Samples) -> list[tuple[str, ...]]:
    """Medians over rounds; the ratios are those of turns of the same round."""
    rows: list[tuple[str, ...]] = []
    for (count, way), found in samples.items():
        alone = samples[count, LIBRARY]
        ratio = statistics.median(a[0] / b[0] for a, b in zip(found, alone, strict=True))
        all_ms = [ms for _, latencies in found for ms in latencies]
        p50, p95 = np.percentile(all_ms, [50, 95])
        rate = statistics.median(one for one, _ in found)
        ms = (f"{p50:.1f}", f"{p95:.1f}")
        rows.append((str(count), way, f"{rate:.1f}", f"{ratio:.2f}", *ms))
    return rows


if __name__ == "__main__":
    main()
