"""The command pcsr-upscale upscales images and videos with a bundle."""

import json
import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pcsr.cli import FILE, command, command_errors, complain, progress, runtime_options, warn
from pcsr.interrupts import expect_outputs
from pcsr.overlay import explain_colours

from . import MAX_PIXELS

if TYPE_CHECKING:
    from .batch import Done


@command(
    "carn-pcsr/ in.png out.png --overlay routing.png",
    "carn-pcsr/ photos/ upscaled/ --recursive --adaptive",
    "carn-pcsr/ in.mp4 out.mp4 --preset balanced",
)
@click.argument("bundle", type=FILE)
@click.argument("inputs", nargs=-1, required=True, type=FILE)
@click.argument("output", type=FILE)
@click.option("--scale", type=float, help="Scale, at least 1.  [default: the trained one]")
@click.option("--k", type=float, help="Weight of cost: larger is lighter, faster. [default: 0]")
@click.option("--adaptive", is_flag=True, help="Route by each image's spread of difficulty (ADM).")
@click.option("--heavy-ratio", type=float, help="Share of heavy pixels, 0 to 1, instead of --k.")
@click.option("--preset", help="Calibrated routing: quality, balanced or fast, instead of --k.")
@click.option("--budget-ms", type=float, help="Calibrated routing: time of an image or frame.")
@click.option("--max-psnr-loss-db", type=float, help="Calibrated routing: largest mean loss.")
@click.option("--adaptive-budget", is_flag=True, help="Correct the budget by the frames before.")
@click.option("--refine/--no-refine", default=True, help="Smooth light pixels beside heavy ones.")
@click.option("--overlay", type=FILE, help="Draw the routing map here: heavy red, light green.")
@click.option("--recursive", is_flag=True, help="Look into sub-folders.")
@click.option(
    "--format",
    "suffix",
    type=click.Choice(["png", "jpg", "tiff", "webp"]),
    help="Format of images in an output folder. [default: as the input]",
)
@click.option(
    "--quality", type=click.IntRange(1, 100), default=95, help="Quality of JPEG and WebP files."
)
@click.option(
    "--crf",
    type=click.FloatRange(0, 63),
    help="Rate factor of videos: smaller is better, larger files. [default: 17 with libx264]",
)
@click.option("--codec", help="Encoder of videos. [default: libx264; .webm: libvpx-vp9]")
@click.option("--overwrite", is_flag=True, help="Replace existing outputs.")
@click.option(
    "--max-pixels", type=click.IntRange(1), default=MAX_PIXELS, help="Refuse larger inputs."
)
@click.option(
    "--accept-damaged", is_flag=True, help="Take what can be decoded of damaged or cut-off images."
)
@click.option("--json", "as_json", is_flag=True, help="Print a line of JSON per file on stdout.")
@runtime_options
@click.option(
    "-t", "--tile", default="auto", help="Side of the tiles in input pixels; auto goes by memory."
)
@click.option("--build/--no-build", default=True, help="Build TensorRT engines that are missing.")
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
    build: bool,
    threads: int | None,
    **options: Any,  # noqa: ANN401
) -> None:
    """Upscale INPUTS (files, folders) with BUNDLE into OUTPUT (a file, or a folder for several).

    PNG, JPEG, TIFF and WebP, and GIF, AVIF and BMP as input; ICC profile and EXIF are kept, EXIF
    orientation is applied. Videos
    (.mp4 .mkv .mov .webm, and .avi as input) keep their timing, colours and sound.
    """
    from pcsr.runtime.geometry.tiling import parse_tile
    from pcsr.runtime.routing.request import RoutingRequest
    from pcsr.runtime.upscaler import Upscaler

    from .batch import UpscaleOptions, upscale_files
    from .jobs import plan_jobs
    from .video import no_bar

    tile_px = parse_tile(tile)
    upscaler = Upscaler(bundle, device, backend, precision, threads, tile_px, may_build=build)
    if device != "cpu":
        click.echo(f"{device}: {upscaler.backend}, {precision}, passes {upscaler.passes}", err=True)
    jobs = plan_jobs(inputs, output, recursive, f".{suffix}" if suffix else None, overlay)
    expect_outputs(sum(len(job.targets) for job in jobs))
    shown = no_bar if as_json else progress
    over_files, over_frames = (shown, no_bar) if len(jobs) > 1 else (no_bar, shown)
    request = RoutingRequest(**{way.name: options.pop(way.name) for way in fields(RoutingRequest)})
    given = UpscaleOptions(**options, request=request)
    results = upscale_files(upscaler, jobs, given, over_frames)
    failed = 0
    with over_files(results, "upscaling", len(jobs)) as finished:
        for done in finished:
            failed += done.error is not None
            _show(done, as_json, len(jobs) == 1)
    if overlay is not None and failed < len(jobs):
        click.echo(f"overlay: {explain_colours(upscaler.bundle.upsamplers)}", err=True)
    sys.exit(1 if failed else 0)


def _show(done: "Done", as_json: bool, is_only: bool) -> None:
    if done.error:
        complain(done.error)
    for warning in done.warnings:
        warn(f"{done.job.target}: {warning}")
    if as_json:
        click.echo(json.dumps(done.to_json(), allow_nan=False))
    elif not done.error and (is_only or not sys.stderr.isatty()):
        click.echo(done.summary(), err=True)
