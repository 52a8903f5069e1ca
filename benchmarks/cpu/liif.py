"""Times a LIIF bundle beside the form of its authors in PyTorch, interleaved.

python -m benchmarks.cpu.liif CHECKPOINT BUNDLE [--size 150x100] [--scale 4] [--rounds 5]
"""

import statistics
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import click

from benchmarks.environment import pin
from pcsr.cli import command_errors
from pcsr.text import parse_size

if TYPE_CHECKING:
    from benchmarks.image import Image

QUERIES = 30_000  # at a time, as `batched_predict` of the authors' code
FILE = click.Path(path_type=Path, exists=True)
Call = Callable[["Image"], Any]


def authors_form(ckpt: Path, scale: float) -> Call:
    """Makes what the authors' code does with an image [h, w, 3] uint8: features once, then chunks
    of queries, each of which unfolds the features and is evaluated at four neighbours.
    """
    import torch

    from benchmarks.callers import load_network, to_bytes, to_planes
    from pcsr.models import PCSR
    from pcsr.models.liif import pixel_centres

    network = load_network(str(ckpt))
    if not isinstance(network, PCSR) or network.names != ["heavy_sampler"]:
        raise click.BadParameter(f"{ckpt} is not a LIIF checkpoint")
    upsampler = network.upsamplers[0]

    @torch.inference_mode()
    def call(image: "Image") -> Any:  # noqa: ANN401
        size = (round(image.shape[0] * scale), round(image.shape[1] * scale))
        features = network.encoder(
            (to_planes(torch.from_numpy(image)) - network.mean) / network.std
        )
        queries = pixel_centres(size).view(1, -1, 2)
        cell = torch.tensor([2 / size[0], 2 / size[1]])
        parts = [upsampler(features, query, cell) for query in torch.split(queries, QUERIES, dim=1)]
        colours = torch.cat(parts, dim=1).transpose(1, 2).reshape(1, 3, *size)
        return to_bytes(colours * network.std + network.mean).numpy()

    return call


def our_form(bundle: Path, scale: float, threads: int, backend: str) -> Call:
    """Makes what the runtime does with it."""
    from pcsr import Upscaler

    upscale = Upscaler(bundle, backend=backend, threads=threads)
    return lambda image: upscale(image, scale).image


def interleaved(calls: dict[str, Call], image: "Image", rounds: int) -> dict[str, list[float]]:
    """Times each in turn, in seconds; a round before them is discarded."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(-1, rounds):
        for name, call in calls.items():
            start = perf_counter()
            call(image)
            if number >= 0:
                times[name].append(perf_counter() - start)
    return times


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("checkpoint", type=FILE)
@click.argument("bundle", type=FILE)
@click.option("--size", default="150x100", show_default=True, help="Of the input, WIDTHxHEIGHT.")
@click.option("--scale", type=float, default=4.0, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
@click.option("--threads", type=click.IntRange(1), default=2, show_default=True)
@click.option("--backend", type=click.Choice(["native", "onnxruntime"]), default="native")
@command_errors
def main(
    checkpoint: Path, bundle: Path, size: str, scale: float, rounds: int, threads: int, backend: str
) -> None:
    """Time a bundle beside the authors' form: medians in seconds, and the ratio of each round."""
    pin(threads)
    import numpy as np
    import torch

    from benchmarks.image import sample_image

    torch.set_num_threads(threads)
    image = sample_image(parse_size(size))
    calls = {
        "authors": authors_form(checkpoint, scale),
        "pcsr": our_form(bundle, scale, threads, backend),
    }
    images = [call(image) for call in calls.values()]
    levels = int(np.abs(np.subtract(*images, dtype=np.int16)).max())
    times = interleaved(calls, image, rounds)
    ratios = [a / b for a, b in zip(times["authors"], times["pcsr"], strict=True)]
    for name, seconds in times.items():
        click.echo(f"{name:8} {statistics.median(seconds):8.3f} s")
    shown = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    click.echo(f"ratio    {statistics.median(ratios):8.2f} ({shown}); levels apart: {levels}")


if __name__ == "__main__":
    main()
