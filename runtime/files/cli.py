"""pcsr-upscale: images and videos -> upscaled ones, with a bundle."""

import json
import sys
from contextlib import nullcontext
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from pcsr.cli import MAX_PIXELS, command_errors, complain, progress, show_log, warn

PATH = click.Path(path_type=Path)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.argument("bundle", type=PATH)
@click.argument("inputs", nargs=-1, required=True, type=PATH)
@click.argument("output", type=PATH)
@click.option("--scale", type=float, help="At least 1. [default: what it was trained for]")
@click.option("--k", type=float, help="Weight of cost: larger is lighter, faster. [default: 0]")
@click.option("--adaptive", is_flag=True, help="Route by each image's spread of difficulty (ADM).")
@click.option("--heavy-ratio", type=float, help="Share of heavy pixels, 0 to 1, instead of --k.")
@click.option("--preset", help="Calibrated: quality, balanced or fast, instead of --k.")
@click.option("--budget-ms", type=float, help="Calibrated: time of an image or frame.")
@click.option("--max-psnr-loss-db", type=float, help="Calibrated: against all heavy, in the mean.")
@click.option("--adaptive-budget", is_flag=True, help="Correct the budget by the frames before.")
@click.option("--refine/--no-refine", default=True, help="Smooth light pixels beside heavy ones.")
@click.option("--overlay", type=PATH, help="Draw the routing map here (a folder for several).")
@click.option("--recursive", is_flag=True, help="Look into sub-folders.")
@click.option(
    "--format",
    "suffix",
    type=click.Choice(["png", "jpg", "tiff", "webp"]),
    help="Of images in an output folder. [default: as the input]",
)
@click.option("--quality", type=click.IntRange(1, 100), default=95, help="Of JPEG and WebP.")
@click.option("--crf", type=click.FloatRange(0, 63), help="Of videos. [default: 17 with libx264]")
@click.option("--codec", help="Of videos. [default: libx264; .webm: libvpx-vp9]")
@click.option("--overwrite", is_flag=True, help="Replace existing outputs.")
@click.option(
    "--max-pixels",
    type=click.IntRange(1),
    default=MAX_PIXELS,
    help="Refuse larger inputs.",
)
@click.option("--json", "as_json", is_flag=True, help="One line of statistics per image on stdout.")
@click.option("--device", default="cpu", help="cpu, cuda or cuda:N.")
@click.option("--backend", default="auto", help="native, onnxruntime, torch, tensorrt or auto.")
@click.option("--precision", default="fp32", help="Which graphs of the bundle.")
@click.option(
    "-t", "--tile", default="auto", help="Side of the tiles in input pixels. auto: by memory."
)
@click.option(
    "--passes",
    type=click.Choice(["auto", "fused", "graphs"]),
    default="auto",
    help="Behind the backbone, on a GPU: Triton kernels, or the bundle's graphs.",
)
@click.option("--build/--no-build", default=True, help="Build TensorRT engines that are missing.")
@click.option("--threads", type=click.IntRange(1, 256), help="[default: all cores]")
@command_errors
def main(
    bundle: Path,
    inputs: tuple[Path, ...],
    output: Path,
    overlay: Path | None,
    recursive: bool,
    suffix: str | None,
    as_json: bool,
    device: str,
    backend: str,
    precision: str,
    tile: str,
    passes: str,
    build: bool,
    threads: int | None,
    **options: Any,  # noqa: ANN401
) -> None:
    """Upscale INPUTS (files, folders) with BUNDLE into OUTPUT (a file, or a folder for several).

    PNG, JPEG, TIFF and WebP; ICC profile and EXIF are kept, EXIF orientation is applied. Videos
    (.mp4 .mkv .mov .webm, and .avi as input) keep their timing, colours and sound.
    """
    from pcsr.runtime.geometry.tiling import parse_tile
    from pcsr.runtime.routing.request import RoutingRequest
    from pcsr.runtime.upscaler import Upscaler

    from .batch import Options, summary, upscale_files
    from .jobs import plan_jobs

    show_log()
    upscaler = Upscaler(
        bundle,
        device,
        backend,
        precision,
        threads,
        parse_tile(tile),
        passes=passes,
        may_build=build,
    )
    if device != "cpu":
        click.echo(f"{device}: {upscaler.backend}, {precision}, passes {upscaler.passes}", err=True)
    jobs = plan_jobs(inputs, output, recursive, f".{suffix}" if suffix else None, overlay)
    show_frames = len(jobs) == 1 and not as_json
    request = RoutingRequest(**{way.name: options.pop(way.name) for way in fields(RoutingRequest)})
    results = upscale_files(
        upscaler, jobs, Options(**options, request=request, show_frames=show_frames)
    )
    shown = len(jobs) > 1 and not as_json
    bar = progress(results, "upscaling", len(jobs)) if shown else nullcontext(results)
    failed = 0
    with bar as finished:
        for done in finished:
            failed += done.error is not None
            if done.error:
                complain(done.error)
            for warning in done.warnings:
                warn(f"{done.job.target}: {warning}")
            if as_json:
                click.echo(json.dumps(done.to_json(), allow_nan=False))
            elif not done.error and (len(jobs) == 1 or not sys.stderr.isatty()):
                click.echo(summary(done), err=True)
    sys.exit(1 if failed else 0)
