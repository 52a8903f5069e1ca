"""Times a LIIF checkpoint in the form of its authors beside its bundle, the PCSR that was trained
from it, and networks that people use instead; all interleaved, on the CPU.

    python -m benchmarks.cpu.liif LIIF.pth [--pcsr PCSR.pth] [--photo FILE] [--no-others]
"""

import statistics
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from tabulate import tabulate

from benchmarks.contenders import SCALE
from benchmarks.environment import ROOT, pin
from pcsr.cli import command_errors
from pcsr.errors import UsageError
from pcsr.text import parse_size

if TYPE_CHECKING:
    from benchmarks.image import Image
    from pcsr.runtime.profiler.measuring.calls import Caller

QUERIES = 30_000  # at a time, as `batched_predict` of the authors' code
CHECKPOINTS, CACHE = ROOT.parent / "shared" / "checkpoints", ROOT / "benchmarks" / "cache"
FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
FOLDER = click.Path(path_type=Path, file_okay=False)
AUTHORS = "LIIF, form of its authors"
PCSR_MODES: Mapping[str, dict[str, Any]] = {
    "k = 0": {"k": 0.0},
    "ADM": {"adaptive": True},
    "all heavy": {"heavy_ratio": 1.0},
    "all light": {"heavy_ratio": 0.0},
}
RANDOM = ("SPAN", "Compact")
HELD_OUT = ("coffee", "rocket", "chelsea")
"""Photos of scikit-image on which training/configs never trains."""
Call = Callable[["Image"], "Image"]


def authors_form(ckpt: Path) -> Call:
    """Makes what the authors' code does with an image [h, w, 3] uint8: features once, then chunks
    of queries, each of which unfolds the features and is evaluated at four neighbours.
    """
    import torch

    from benchmarks.callers import load_network, to_bytes, to_planes
    from pcsr.models import PCSR
    from pcsr.models.liif import pixel_centres

    network = load_network(str(ckpt))
    if not isinstance(network, PCSR) or len(network.upsamplers) != 1:
        raise UsageError(f"{ckpt} is not a LIIF checkpoint: it has no upsampler, or several")
    upsampler, mean, std = network.upsamplers[0], network.mean, network.std

    @torch.inference_mode()
    def call(image: "Image") -> "Image":
        size = (image.shape[0] * SCALE, image.shape[1] * SCALE)
        features = network.encoder((to_planes(torch.from_numpy(image)) - mean) / std)
        queries = pixel_centres(size).view(1, -1, 2)
        cell = torch.tensor([2 / size[0], 2 / size[1]])
        chunks = torch.split(queries, QUERIES, dim=1)
        colours = torch.cat([upsampler(features, chunk, cell) for chunk in chunks], dim=1)
        whole = colours.transpose(1, 2).reshape(1, 3, *size)
        out: Image = to_bytes(whole * std + mean).numpy()
        return out

    return call


def bundle_calls(name: str, ckpt: Path, threads: int) -> Iterator[tuple[str, Call]]:
    """Yields what the runtime does with a checkpoint, in each mode that it has."""
    from pcsr import Upscaler

    upscaler = Upscaler(exported(ckpt), threads=threads)
    modes = PCSR_MODES if upscaler.bundle.upsamplers > 1 else {"": {}}
    for mode, options in modes.items():

        def call(image: "Image", options: Mapping[str, Any] = options) -> "Image":
            out: Image = upscaler(image, SCALE, **options).image
            return out

        yield ", ".join(part for part in (name, mode) if part), call


def plain_call(ckpt: Path, threads: int) -> Call:
    """Runs a plain network in ONNX Runtime, without this project's runtime."""
    from benchmarks.callers import FOREIGN, Files, Place

    bundle = str(exported(ckpt))
    files = Files(bundle, bundle, str(ckpt), str(ckpt))
    caller: Caller = FOREIGN["plain-session"](files, Place(threads=threads))

    def call(image: "Image") -> "Image":
        out: Image = caller(image, {}).image
        return out

    return call


def say(text: str) -> None:
    """Prints a line of progress."""
    click.echo(text, err=True)


def exported(ckpt: Path) -> Path:
    """Exports a checkpoint, unless the cache has its bundle."""
    from benchmarks.networks import bundle_name
    from pcsr.bundle import is_bundle
    from pcsr.export.exporter import ExportOptions, export_bundle

    CACHE.mkdir(parents=True, exist_ok=True)
    bundle = CACHE / bundle_name(ckpt)
    if not is_bundle(bundle):
        export_bundle(ckpt, bundle, ExportOptions(), say)
    return bundle


def other_calls(checkpoints: Path, threads: int) -> Iterator[tuple[str, Call]]:
    """Yields CARN, as PCSR and plain, and two plain networks of today, where spandrel is there."""
    from benchmarks.networks import find_networks

    carn = find_networks("carn", checkpoints, CACHE, say).files
    calls = bundle_calls("CARN-PCSR", Path(carn.pcsr_ckpt), threads)
    yield next((name, call) for name, call in calls if name.endswith("ADM"))
    yield "CARN, ONNX Runtime", plain_call(Path(carn.plain_ckpt), threads)
    for name, ckpt in random_networks():
        yield f"{name}, ONNX Runtime", plain_call(ckpt, threads)


def random_networks() -> Iterator[tuple[str, Path]]:
    """Yields checkpoints of SPAN and Compact with random weights, of the sizes that are used."""
    from pcsr.models.recognition.spandrel_networks import is_installed

    if not is_installed():
        say("spandrel is not installed: without SPAN and Compact (pip install '.[spandrel]')")
        return
    import torch
    from spandrel.architectures.Compact import Compact
    from spandrel.architectures.SPAN import SPAN

    torch.manual_seed(0)
    made = {
        "SPAN": lambda: SPAN(num_in_ch=3, num_out_ch=3, feature_channels=48, upscale=SCALE),
        "Compact": lambda: Compact(num_feat=64, num_conv=16, upscale=SCALE),
    }
    for name, make in made.items():
        path = CACHE / f"{name.lower()}-random.pth"
        if not path.exists():
            torch.save({"params": make().state_dict()}, path)  # type: ignore[no-untyped-call]
        yield name, path


def photos(paths: tuple[Path, ...]) -> list[tuple["Image", "Image"]]:
    """Reads photos, or takes samples: pairs of an original and what is upscaled to it."""
    from skimage import data

    from pcsr import images
    from pcsr.metrics import degrade
    from pcsr.runtime.layout import as_rgb8
    from pcsr.runtime.profiler.pictures import LARGEST_FILE

    found = [as_rgb8(images.read(path, LARGEST_FILE).pixels) for path in paths]
    found = found or [getattr(data, name)() for name in HELD_OUT]
    return [degrade(photo, SCALE) for photo in found]


def interleaved(calls: Mapping[str, Call], image: "Image", rounds: int) -> dict[str, list[float]]:
    """Times each once in every round, in milliseconds; a round before them is discarded."""
    from time import perf_counter

    from pcsr.runtime.profiler.measuring.rounds import Pace, turns

    times: dict[str, list[float]] = {name: [] for name in calls}
    for name, number in turns(list(calls), Pace(rounds, warm_ups=1)):
        start = perf_counter()
        calls[name](image)
        if number >= 0:
            times[name].append(1000 * (perf_counter() - start))
    return times


def mean_psnr(call: Call, pairs: list[tuple["Image", "Image"]]) -> float:
    """Takes the mean over photos of PSNR on RGB, without a border of `SCALE` pixels."""
    from pcsr.metrics import psnr

    return statistics.mean(psnr(call(small), original, SCALE) for original, small in pairs)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("checkpoint", type=FILE)
@click.option("--pcsr", type=FILE, help="Checkpoint of the PCSR that was trained from it.")
@click.option("--photo", "paths", multiple=True, type=FILE, help="May repeat; else samples.")
@click.option("--size", default="150x100", show_default=True, help="WIDTHxHEIGHT that is timed.")
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
@click.option("--threads", type=click.IntRange(1), default=2, show_default=True)
@click.option("--others/--no-others", default=True, help="With CARN, SPAN and Compact, or without.")
@click.option("--checkpoints", type=FOLDER, default=CHECKPOINTS, help="Where CARN's are.")
@command_errors
def main(
    checkpoint: Path,
    pcsr: Path | None,
    paths: tuple[Path, ...],
    size: str,
    rounds: int,
    threads: int,
    others: bool,
    checkpoints: Path,
) -> None:
    """Time everyone on one image and take the PSNR of the photos, at scale 4."""
    pin(threads)
    import torch

    from benchmarks.image import sample_image

    torch.set_num_threads(threads)
    calls = {AUTHORS: authors_form(checkpoint), **dict(bundle_calls("LIIF", checkpoint, threads))}
    if pcsr is not None:
        calls |= bundle_calls("its PCSR", pcsr, threads)
    if others:
        calls |= other_calls(checkpoints, threads)
    times = interleaved(calls, sample_image(parse_size(size)), rounds)
    pairs = photos(paths)
    rows = []
    for name, call in calls.items():
        ratios = [a / b for a, b in zip(times[AUTHORS], times[name], strict=True)]
        quality = "random weights" if name.startswith(RANDOM) else f"{mean_psnr(call, pairs):.2f}"
        rows.append(
            (
                name,
                f"{statistics.median(times[name]):.0f}",
                f"{statistics.median(ratios):.2f}",
                quality,
            )
        )
    head = ("network", f"ms, {size} x{SCALE}", "times as fast", f"dB, mean of {len(pairs)} photos")
    click.echo(tabulate(rows, head, tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()
