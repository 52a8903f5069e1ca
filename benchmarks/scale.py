"""Computes what a billion images take on 1 to 1,000 GPUs, from figures of single machines.

    python -m benchmarks.scale --model carn --suffix .jpg

Nothing is simulated: each resource allows so many images a second, all stages overlap, and the
scarcest resource decides. Measured here, in time of a core (so that a busy machine matters little):
decoding, encoding with the SHA-256 of the file, and computing on a CPU. The time on a GPU is read
from the runs that are kept in benchmarks/results. All else is assumed, and an option.
"""

import hashlib
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import click
from tabulate import tabulate

from pcsr import Upscaler
from pcsr.cli import command_errors
from pcsr.errors import UsageError
from pcsr.images import Picture, read_bytes, write_bytes
from pcsr.text import parse_size, size_text

from .environment import ROOT, describe
from .image import sample_image
from .networks import find_pcsr
from .records import read_records

GPUS = (1, 8, 64, 1000)
IMAGES = 10**9
SUFFIXES = (".jpg", ".png", ".webp")
SCALE = 4
CONTENDER = "pcsr, torch, fused, graph, ADM"
RESULTS = ROOT / "benchmarks" / "results"
MEGA = 1e6
UNITS = {"days": 86400.0, "hours": 3600.0, "minutes": 60.0}


@dataclass(frozen=True)
class Assumed:
    """What is not measured. Each field is an option of the command."""

    gpus_per_node: int = 8
    cores_per_gpu: int = 16
    """Of a core as fast as this machine's."""
    network_gb_s: float = 3.0
    """Of a node, in and out together: 25 Gbit/s."""
    store_gb_s: float = 100.0
    """Of the store, reads and writes together."""
    store_writes_s: float = 3500.0
    """Files a second that the store takes below one folder, as S3 states."""
    batch_ms: float = 10.0
    """What a batch of the job costs its one driver."""
    batch_images: int = 64
    gpu_hour_usd: float = 3.0
    """With its share of the node."""
    core_hour_usd: float = 0.04
    """Of machines without a GPU."""
    write_usd: float = 5e-6
    """What the store asks for a file that is written."""


@dataclass(frozen=True)
class Image:
    """What an image of the job amounts to."""

    output_mp: float
    decode_core_s: float
    encode_core_s: float
    compute_core_s: float
    """On a CPU."""
    compute_gpu_s: float
    read_mb: float
    written_mb: float


def bounds(image: Image, assumed: Assumed, gpus: int) -> dict[str, float]:
    """Gives the images a second that each resource of a cluster allows."""
    nodes = math.ceil(gpus / assumed.gpus_per_node)
    moved_gb = (image.read_mb + image.written_mb) / 1000
    return {
        "GPUs": gpus / image.compute_gpu_s,
        "cores": gpus * assumed.cores_per_gpu / (image.decode_core_s + image.encode_core_s),
        "network": nodes * assumed.network_gb_s / moved_gb,
        "store's bytes": assumed.store_gb_s / moved_gb,
        "store's files": assumed.store_writes_s,
        "driver": 1000 * assumed.batch_images / assumed.batch_ms,
    }


def rows(image: Image, assumed: Assumed) -> list[list[str]]:
    """Makes the table's rows: one per number of GPUs, and one of CPUs alone."""
    made = []
    for gpus in GPUS:
        allowed = bounds(image, assumed, gpus)
        bound = min(allowed, key=lambda name: allowed[name])
        rate = allowed[bound]
        usd = gpus * assumed.gpu_hour_usd * IMAGES / rate / 3600 + IMAGES * assumed.write_usd
        made.append(
            [
                f"{gpus:,}",
                *(f"{each:,.0f}" for each in allowed.values()),
                bound,
                duration(IMAGES / rate),
                f"{1e9 * usd / (IMAGES * image.output_mp * MEGA):.4f}",
            ]
        )
    return made


def duration(seconds: float) -> str:
    """Writes a time in its unit, in years from two on."""
    if seconds >= 2 * 365 * UNITS["days"]:
        return f"{seconds / (365 * UNITS['days']):.1f} years"
    unit = next((name for name, length in UNITS.items() if seconds >= 2 * length), "minutes")
    return f"{seconds / UNITS[unit]:.1f} {unit}"


def recorded_ms(model: str, pixels: int, results: Path = RESULTS) -> tuple[float, float, str]:
    """Finds what the latest kept run took for a frame from the host's memory to there, of the size
    nearest to so many input pixels: its milliseconds, its output megapixels, and the run's name.

    Raises:
        UsageError: no run measured that.
    """
    for file in sorted(results.glob("gpu-nvidia-h200-*.jsonl"), reverse=True):
        found = [
            record
            for record in read_records(file)
            if record["kind"] == "time"
            and (record["model"], record["contender"]) == (model, CONTENDER)
            and record["precision"] == "fp16"
            and record["image"] == "photos"
            and record.get("host_ms")
        ]
        if found:
            nearest = min(
                found, key=lambda record: abs(math.log(math.prod(record["lr_size"]) / pixels))
            )
            megapixels = math.prod(nearest["lr_size"]) * SCALE**2 / MEGA
            return nearest["host_ms"]["p50"], megapixels, file.stem
    raise UsageError(f"no run in {results} has times of {model}; choose carn or fsrcnn")


def core_s(work: Callable[[], Any], least: int = 2) -> tuple[float, Any]:
    """Takes the least time that all cores together spend on some work, and gives its result."""
    result, times = work(), []
    for _ in range(least):
        start = time.process_time()
        result = work()
        times.append(time.process_time() - start)
    return min(times), result


def measured(bundle: Path, size: tuple[int, int], suffixes: tuple[str, str], gpu_s: float) -> Image:
    """Measures an image of (height, width) input pixels. suffixes: of input and output."""
    photo = sample_image(size)
    source = write_bytes(Picture(photo), suffixes[0])
    decode_s, _ = core_s(lambda: read_bytes(source, photo.size), least=10)
    with Upscaler(bundle) as upscaler:
        compute_s, result = core_s(lambda: upscaler(photo, SCALE, adaptive=True))

    def encode() -> bytes:
        encoded = write_bytes(Picture(result.image), suffixes[1])
        hashlib.sha256(encoded).digest()
        return encoded

    encode_s, encoded = core_s(encode)
    megapixels = math.prod(result.image.shape[:2]) / MEGA
    return Image(
        output_mp=megapixels,
        decode_core_s=decode_s,
        encode_core_s=encode_s,
        compute_core_s=compute_s,
        compute_gpu_s=gpu_s * megapixels,
        read_mb=len(source) / MEGA,
        written_mb=len(encoded) / MEGA,
    )


def pixel_costs(image: Image, assumed: Assumed) -> list[list[str]]:
    """Makes the table of what a gigapixel of output costs, stage by stage."""
    per_gigapixel = 1000 / image.output_mp
    gpu_usd_s = assumed.gpu_hour_usd / 3600
    core_usd_s = gpu_usd_s / assumed.cores_per_gpu
    stages: Mapping[str, tuple[float, str, float]] = {
        "decode": (image.decode_core_s, "core s", core_usd_s),
        "compute on an H200": (image.compute_gpu_s, "GPU s", gpu_usd_s),
        "encode, SHA-256": (image.encode_core_s, "core s", core_usd_s),
        "compute on a CPU instead": (image.compute_core_s, "core s", assumed.core_hour_usd / 3600),
    }
    return [
        [name, f"{per_gigapixel * each:.3g}", unit, f"{per_gigapixel * each * usd:.5f}"]
        for name, (each, unit, usd) in stages.items()
    ]


def assumptions(command: Callable[..., None]) -> Callable[..., None]:
    """Makes an option of each field of `Assumed`."""
    for field in reversed(fields(Assumed)):
        name, default = f"--{field.name.replace('_', '-')}", field.default
        command = click.option(name, type=type(default), default=default, show_default=True)(
            command
        )
    return command


@click.command()
@click.option("--model", type=click.Choice(["carn", "fsrcnn"]), default="carn", show_default=True)
@click.option("--size", default="640x480", show_default=True, help="Of an input, WIDTHxHEIGHT.")
@click.option("--input", "source", type=click.Choice(SUFFIXES), default=".jpg", show_default=True)
@click.option("--suffix", type=click.Choice(SUFFIXES), default=".jpg", show_default=True)
@click.option(
    "--checkpoints",
    type=click.Path(path_type=Path),
    default=ROOT.parent / "shared" / "checkpoints",
    help="Published weights, where they are; else this project's, or random ones of their shape.",
)
@click.option(
    "--cache", type=click.Path(path_type=Path), default=ROOT / "benchmarks" / "cache", hidden=True
)
@assumptions
@command_errors
def main(
    model: str,
    size: str,
    source: str,
    suffix: str,
    checkpoints: Path,
    cache: Path,
    **given: Any,  # noqa: ANN401
) -> None:
    """Prints what a billion images take on 1 to 1,000 GPUs, and by what it is bound."""
    assumed = Assumed(**given)
    lr_size = parse_size(size)
    ms, megapixels, run = recorded_ms(model, math.prod(lr_size))
    bundle = find_pcsr(model, checkpoints, cache, click.echo)
    image = measured(bundle, lr_size, (source, suffix), ms / 1000 / megapixels)
    environment = describe(1)
    print_all(
        {
            "images": f"{size_text(lr_size)} {source} to x{SCALE} {suffix}, "
            f"{image.output_mp:.1f} megapixels, {image.read_mb:.2f} MB in, "
            f"{image.written_mb:.2f} MB out",
            "cores measured on": f"{environment['cpu']}, {environment['commit']}",
            "GPU read from": f"{run}: {model}, fp16, {CONTENDER}, {ms:.2f} ms for "
            f"{megapixels:.1f} megapixels, transfers included",
            "assumed": ", ".join(f"{f.name} {getattr(assumed, f.name):g}" for f in fields(assumed)),
        },
        image,
        assumed,
    )


def print_all(head: Mapping[str, str], image: Image, assumed: Assumed) -> None:
    """Prints the head and both tables."""
    for name, text in head.items():
        click.echo(f"{name}: {text}")
    click.echo()
    heads = ["a gigapixel of output", "time", "unit", "USD"]
    click.echo(tabulate(pixel_costs(image, assumed), heads, "github", disable_numparse=True))
    click.echo()
    resources = [f"{name}, images/s" for name in bounds(image, assumed, 1)]
    columns = ["GPUs", *resources, "bound by", "a billion images", "USD a gigapixel"]
    click.echo(tabulate(rows(image, assumed), columns, "github", disable_numparse=True))
    cores_s = image.decode_core_s + image.compute_core_s + image.encode_core_s
    usd = cores_s * assumed.core_hour_usd / 3600 + assumed.write_usd
    click.echo(
        f"\nwithout GPUs: {cores_s:.2f} core s an image, {1000 * usd / image.output_mp:.4f} USD a "
        f"gigapixel; 1,000 cores take {duration(IMAGES * cores_s / 1000)} for a billion images"
    )


if __name__ == "__main__":
    main()
