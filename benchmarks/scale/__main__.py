"""Computes what a billion images take on 1 to 1,000 GPUs, from figures of single machines.

    python -m benchmarks.scale --model carn --suffix .jpg

Nothing is simulated: each resource allows so many images a second, all stages overlap, and the
scarcest resource decides. Measured here, in time of a core (so that a busy machine matters little):
decoding, encoding with the SHA-256 of the file, and computing on a CPU. The time on a GPU is read
from the runs that are kept in benchmarks/results. All else is assumed, and an option.
"""

from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
from tabulate import tabulate

from benchmarks.environment import ROOT, describe
from benchmarks.networks import find_pcsr
from pcsr.cli import command_errors
from pcsr.text import parse_size, size_text

from .arithmetic import GPUS, IMAGES, Assumed, Image, duration, pixel_costs, summary
from .measured import CONTENDER, SCALE, measured, recorded_ms

SUFFIXES = (".jpg", ".png", ".webp")


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
    ms, megapixels, run = recorded_ms(model, lr_size[0] * lr_size[1])
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
    columns = ["GPUs", *(f"{gpus:,}" for gpus in GPUS)]
    made = summary(image, assumed)
    click.echo(tabulate(made, columns, "github", disable_numparse=True))
    cores_s = image.decode_core_s + image.compute_core_s + image.encode_core_s
    usd = cores_s * assumed.core_hour_usd / 3600 + assumed.write_usd
    click.echo(
        f"\nwithout GPUs: {cores_s:.2f} core s an image, {1000 * usd / image.output_mp:.4f} USD a "
        f"gigapixel; 1,000 cores take {duration(IMAGES * cores_s / 1000)} for a billion images"
    )


if __name__ == "__main__":
    main()
