"""Times a LIIF checkpoint in the form of its authors beside its bundle, the PCSR that was trained
from it, and networks that people use instead, all interleaved; and takes the PSNR of each.

    python -m benchmarks.liif LIIF.pth [--pcsr PCSR.pth] [--photo FILE] [--scale 3] [--device cuda]
"""

import math
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from tabulate import tabulate

from benchmarks.bench import CHECKPOINTS, FOLDER, say
from benchmarks.contenders import SCALE
from benchmarks.environment import pin
from pcsr.cli import NumberRange, command_errors
from pcsr.text import parse_size

if TYPE_CHECKING:
    from benchmarks.image import Image

    from .networks import Call

FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
AUTHORS = "LIIF, form of its authors"
HELD_OUT = ("coffee", "rocket", "chelsea")
"""Photos of scikit-image on which training/configs never trains."""


def photos(paths: tuple[Path, ...], scale: float) -> list[tuple["Image", "Image"]]:
    """Reads photos, or takes samples: pairs of an original and what is upscaled to it."""
    from skimage import data

    from pcsr.metrics import degrade
    from pcsr.runtime.layout import as_rgb8

    found = [_read(path) for path in paths] or [getattr(data, name)() for name in HELD_OUT]
    return [degrade(as_rgb8(photo), scale) for photo in found]


def _read(path: Path) -> Any:  # noqa: ANN401
    from pcsr import images
    from pcsr.runtime.profiler.pictures import LARGEST_FILE

    return images.read(path, LARGEST_FILE).pixels


def on_device(image: "Image", device: str) -> Any:  # noqa: ANN401
    """Gives the image as it is for the CPU, else as a tensor on the device."""
    import torch

    return image if device == "cpu" else torch.from_numpy(image).to(device)


def finish(device: str) -> None:
    """Waits for what was queued on a GPU."""
    import torch

    if device != "cpu":
        torch.cuda.synchronize(device)


def interleaved(
    calls: Mapping[str, "Call"], image: "Image", rounds: int, device: str
) -> dict[str, list[float]]:
    """Times each once in every round, in milliseconds, with a tensor that stays where the device is
    a GPU; three rounds before them are discarded there (kernels are tried, frames recorded), one on
    the CPU.
    """
    from time import perf_counter

    from pcsr.runtime.profiler.measuring.rounds import Pace, turns

    given = on_device(image, device)
    times: dict[str, list[float]] = {name: [] for name in calls}
    for name, number in turns(list(calls), Pace(rounds, warm_ups=1 if device == "cpu" else 3)):
        finish(device)
        start = perf_counter()
        calls[name](given)
        finish(device)
        if number >= 0:
            times[name].append(1000 * (perf_counter() - start))
    return times


def mean_psnr(
    call: "Call", pairs: list[tuple["Image", "Image"]], scale: float, device: str
) -> float:
    """Takes the mean over photos of PSNR on RGB, without a border of ceil(scale) pixels."""
    from pcsr.metrics import psnr

    def upscaled(small: "Image") -> "Image":
        made = call(on_device(small, device))
        image: Image = made if device == "cpu" else made.cpu().numpy()
        return image

    scores = [psnr(upscaled(small), original, math.ceil(scale)) for original, small in pairs]
    return statistics.mean(scores)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("checkpoint", type=FILE)
@click.option("--pcsr", type=FILE, help="Checkpoint of the PCSR that was trained from it.")
@click.option("--photo", "paths", multiple=True, type=FILE, help="May repeat; else samples.")
@click.option("--scale", type=NumberRange(1, 16), default=SCALE, show_default=True)
@click.option("--size", default="150x100", show_default=True, help="WIDTHxHEIGHT that is timed.")
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
@click.option("--threads", type=click.IntRange(1), default=2, show_default=True)
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:N.")
@click.option(
    "--precision",
    "precisions",
    multiple=True,
    type=click.Choice(("fp32", "fp16", "bf16")),
    default=("fp32",),
    show_default=True,
    help="Of the bundles, and of OpenVINO's networks; may repeat.",
)
@click.option("--others/--no-others", default=True, help="With CARN, SPAN and Compact, at x4.")
@click.option("--checkpoints", type=FOLDER, default=CHECKPOINTS, help="Where CARN's are.")
@command_errors
def main(
    checkpoint: Path,
    pcsr: Path | None,
    paths: tuple[Path, ...],
    scale: float,
    size: str,
    rounds: int,
    threads: int,
    device: str,
    precisions: tuple[str, ...],
    others: bool,
    checkpoints: Path,
) -> None:
    """Time everyone on one image and take the PSNR of the photos."""
    pin(threads)
    import torch

    from benchmarks.callers import Place
    from benchmarks.image import sample_image

    from .networks import RANDOM, authors_form, bundle_calls, other_calls

    torch.set_num_threads(threads)
    calls = {AUTHORS: authors_form(checkpoint, scale, Place(device, "fp32", threads))}
    for place in (Place(device, precision, threads) for precision in dict.fromkeys(precisions)):
        calls |= bundle_calls("LIIF", checkpoint, scale, place, say)
        if pcsr is not None:
            calls |= bundle_calls("its PCSR", pcsr, scale, place, say)
        if others and scale == SCALE:
            calls |= other_calls(checkpoints, place, say)
    times = interleaved(calls, sample_image(parse_size(size)), rounds, device)
    pairs = photos(paths, scale)
    rows = []
    for name, call in calls.items():
        ratios = [a / b for a, b in zip(times[AUTHORS], times[name], strict=True)]
        is_random = name.startswith(RANDOM)
        quality = 0.0 if is_random else mean_psnr(call, pairs, scale, device)
        rows.append(
            (
                name,
                f"{statistics.median(times[name]):.1f}",
                f"{statistics.median(ratios):.2f}",
                "random weights" if is_random else f"{quality:.3f}",
            )
        )
    ms, db = f"ms, {size} x{scale:g}", f"dB, mean of {len(pairs)} photos"
    head = ("network", ms, "times as fast", db)
    click.echo(tabulate(rows, head, tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()
