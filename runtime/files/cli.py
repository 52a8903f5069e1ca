"""The command pcsr-upscale upscales images and videos with a bundle."""

import json
import sys
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pcsr.cli import (
    FILE,
    STDOUT,
    NumberRange,
    check_text_output,
    cluster_options,
    command,
    command_errors,
    complain,
    option_group,
    progress,
    runtime_options,
    say,
    warn,
    write_text,
)
from pcsr.errors import PcsrError, UsageError
from pcsr.interrupts import expect_outputs
from pcsr.overlay import explain_colours

from . import MAX_FRAME_PIXELS, MAX_PIXELS

if TYPE_CHECKING:
    from pcsr.batch.job import BatchJob

    from .batch import UpscaleOptions
    from .done import Done
    from .jobs import Plan


def _no_empty(context: click.Context, parameter: click.Parameter, value: Any) -> Any:  # noqa: ANN401
    """Refuses an empty name, which would be the current folder."""
    if any(str(path) == "" for path in (value if isinstance(value, tuple) else (value,))):
        raise click.BadParameter("expected the name of a file or a folder, found an empty one")
    return value


@command(
    "carn-pcsr/ in.png out.png --overlay routing.png",
    "carn-pcsr/ photos/ upscaled/ --recursive --adaptive --skip-existing",
    "carn-pcsr/ - - < in.png > out.png",
    "carn-pcsr/ in.mp4 out.mp4 --preset balanced",
)
@click.argument("bundle", type=FILE)
@click.argument("paths", nargs=-1, metavar="INPUTS... OUTPUT", callback=_no_empty)
@option_group(
    "Files",
    click.option(
        "-i",
        "--input",
        "inputs",
        multiple=True,
        metavar="PATH",
        callback=_no_empty,
        help="Upscale this.",
    ),
    click.option(
        "-o",
        "--output",
        metavar="PATH",
        callback=_no_empty,
        help="Write there, instead of to OUTPUT.",
    ),
    click.option("--recursive", is_flag=True, help="Look into sub-folders."),
    click.option("--overwrite", is_flag=True, help="Replace existing outputs."),
    click.option("--skip-existing", is_flag=True, help="Skip what is done: keep existing outputs."),
    click.option(
        "--accept-damaged",
        is_flag=True,
        help="Take what can be decoded of damaged or cut-off images.",
    ),
    click.option(
        "--max-pixels",
        type=click.IntRange(1),
        help=f"Refuse larger inputs.  [default: {MAX_PIXELS}; {MAX_FRAME_PIXELS} of a frame]",
    ),
    click.option(
        "--overlay",
        metavar="PATH",
        callback=_no_empty,
        help="Draw the routing map here (a folder for several): heavy red, light green.",
    ),
    click.option(
        "--json",
        "json_name",
        metavar="FILE",
        callback=_no_empty,
        help="Write a line of JSON per file to this file; - for stdout.",
    ),
)
@option_group(
    "Routing",
    click.option("-s", "--scale", type=float, help="At least 1.  [default: the trained one]"),
    click.option("--k", type=float, help="Weight of cost: larger is lighter, faster. [default: 0]"),
    click.option(
        "--adaptive", is_flag=True, help="Route by each image's spread of difficulty (ADM)."
    ),
    click.option(
        "--heavy-ratio", type=float, help="Share of heavy pixels, 0 to 1, instead of --k."
    ),
    click.option(
        "--preset",
        metavar="NAME",
        help="Calibrated routing: quality, balanced or fast, instead of --k.",
    ),
    click.option("--budget-ms", type=float, help="Calibrated routing: time of an image or frame."),
    click.option("--max-psnr-loss-db", type=float, help="Calibrated routing: largest mean loss."),
    click.option(
        "--adaptive-budget", is_flag=True, help="Correct the budget by the frames before."
    ),
    click.option(
        "--refine/--no-refine",
        default=None,
        help="Smooth light pixels beside heavy ones; else as the bundle says.",
    ),
)
@option_group(
    "Formats",
    click.option(
        "-f",
        "--format",
        "suffix",
        type=click.Choice(["png", "jpg", "tiff", "webp", "mp4", "mkv", "mov", "webm"]),
        help="Format of images, or of videos, in a folder or on stdout. [default: as the input]",
    ),
    click.option(
        "--quality", type=click.IntRange(1, 100), default=95, help="Quality of JPEG and WebP files."
    ),
    click.option(
        "--crf",
        type=NumberRange(0, 63),
        help="Rate factor of videos: smaller is better, larger files. [default: 17 with libx264]",
    ),
    click.option(
        "--codec",
        metavar="NAME",
        help="Encoder of videos. [default: libx264; .webm: libvpx-vp9]",
    ),
)
@runtime_options
@option_group(
    "Runtime",
    click.option(
        "--reuse",
        type=click.Choice(["exact", "off"]),
        help="Compute of a video's frames only what changed. [default: exact]",
    ),
    click.option(
        "--reuse-within",
        type=NumberRange(0, 255),
        metavar="LEVELS",
        help="Take pixels that differ by so much, of 255, for unchanged: not exact.",
    ),
    click.option(
        "-t",
        "--tile",
        default="auto",
        metavar="PX",
        help="Side of the tiles in input pixels; auto or 0 goes by memory.",
    ),
    click.option(
        "--build/--no-build", default=True, help="Build TensorRT engines that are missing."
    ),
)
@cluster_options
@command_errors
def main(
    bundle: Path,
    paths: tuple[str, ...],
    inputs: tuple[str, ...],
    output: str | None,
    overlay: str | None,
    recursive: bool,
    suffix: str | None,
    json_name: str | None,
    device: str,
    backend: str,
    precision: str,
    tile: str,
    build: bool,
    threads: int | None,
    engine: str | None,
    workers: int | None,
    on_error: str | None,
    **options: Any,  # noqa: ANN401
) -> None:
    """Upscale INPUTS (files, folders) with BUNDLE into OUTPUT (a file, or a folder for several).

    PNG, JPEG, TIFF and WebP, and GIF, AVIF and BMP as input; ICC profile and EXIF are kept, EXIF
    orientation is applied. Videos (.mp4 .mkv .mov .webm, and others as input) keep their timing,
    colours and sound; they are named, of a folder only the images are taken. - is standard input or
    output. With --device cuda:0,cuda:1 each file is upscaled on the device that is free. With
    --engine images may be URIs, too (s3://, gs://), and OUTPUT is a folder that keeps a manifest.
    """
    from pcsr.runtime.devices import device_names
    from pcsr.runtime.geometry.tiling import parse_tile
    from pcsr.runtime.upscaler import Upscaler

    from .batch import upscale_files
    from .jobs import plan_jobs
    from .overlap import io_threads
    from .planning.streams import opened_streams
    from .video import no_bar

    json_file, form = Path(json_name) if json_name else None, f".{suffix}" if suffix else None
    given, place = _inputs_and_output(paths, inputs, output)
    _check_options(place, json_file, options["overwrite"], options["skip_existing"])
    tile_px = parse_tile("auto" if tile == "0" else tile)
    opening: dict[str, Any] = {
        "backend": backend,
        "precision": precision,
        "threads": threads,
        "tile_px": tile_px,
    }
    opening["may_build"] = build
    if engine or workers or on_error:
        from pcsr.batch.job import BatchJob, Engine, refuse_unfit
        from pcsr.batch.planning import outline

        where, settings = Engine.named(engine, workers, on_error == "stop"), _settings(options)
        opening["device"] = device
        refuse_unfit(opening, settings, overlay)
        found = outline(given, place, recursive, form)
        sys.exit(_run_on_cluster(BatchJob(bundle, found, settings, opening, where), json_file))
    upscalers = [Upscaler(bundle, name, **opening) for name in device_names(device)]
    for upscaler in upscalers:
        if device != "cpu":
            say(f"{upscaler.device}: {upscaler.backend}, {precision}, passes {upscaler.passes}")
    plan = plan_jobs([Path(name) for name in given], place, recursive, form, overlay)
    others = (json_file not in (None, STDOUT)) + plan.to_stdout
    expect_outputs(sum(len(job.targets) for job in plan.jobs) + others)
    shown = no_bar if json_file == STDOUT else progress
    over_files, over_frames = (shown, no_bar) if len(plan.jobs) > 1 else (no_bar, shown)
    settings = _settings(options)
    with opened_streams(plan, settings.limit(is_frame=False)) as streams:
        beside = io_threads(upscalers[0].device, threads, len(upscalers))
        done = upscale_files(upscalers, streams.jobs, settings, over_frames, io_threads=beside)
        results = map(streams.restored, done)
        with over_files(results, "upscaling", len(plan.jobs)) as finished:
            code = _report(finished, plan, json_file, options["overwrite"])
        if overlay is not None and (code == 0 or len(plan.jobs) > 1):
            say(f"overlay: {explain_colours(upscalers[0].bundle.upsamplers)}")
        if code == 0:
            streams.hand_on()
    sys.exit(code)


def _inputs_and_output(
    paths: Sequence[str], inputs: Sequence[str], output: str | None
) -> tuple[list[str], str]:
    names = [*inputs, *paths]
    if output is None and len(paths) > 0:
        output = names.pop()
    if output is None or not names:
        missing = "INPUTS" if output is None or inputs or not paths else "OUTPUT"
        raise click.UsageError(
            f"Missing argument '{missing}': expected BUNDLE INPUTS... OUTPUT, or -i INPUT -o OUTPUT"
        )
    return names, output


def _settings(options: dict[str, Any]) -> "UpscaleOptions":
    from pcsr.runtime.routing.request import RoutingRequest

    from .batch import UpscaleOptions

    request = RoutingRequest(**{way.name: options.pop(way.name) for way in fields(RoutingRequest)})
    return UpscaleOptions(**options, request=request)


def _run_on_cluster(job: "BatchJob", json_file: Path | None) -> int:
    from .video import no_bar

    shown = no_bar if json_file == STDOUT else progress
    with closing(job.run()) as done, shown(done, "upscaling", len(job.plan.jobs)) as finished:
        return _report(finished, job.plan, json_file, job.options.overwrite)


def _check_options(place: str, json_file: Path | None, overwrite: bool, skips: bool) -> None:
    if overwrite and skips:
        raise UsageError("--overwrite and --skip-existing exclude each other; leave one out")
    if json_file == STDOUT and place == str(STDOUT):
        raise UsageError("--json - and the output - are both standard output; name a file for one")
    check_text_output(json_file, overwrite)


def _report(
    finished: Iterable["Done"], plan: "Plan", json_file: Path | None, overwrite: bool
) -> int:
    """Prints what is done, and returns the exit code."""
    from .planning.tally import Tally

    tally, lines, failures = Tally(), list[str](), list[PcsrError](plan.inputs.failed)
    for error in failures:
        complain(error)
    for done in finished:
        tally.add(done)
        if done.error:
            failures.append(done.error)
        line = json.dumps(done.to_json(), allow_nan=False)
        lines.append(line)
        _show(done, json_file == STDOUT, len(plan.jobs) == 1)
        if json_file == STDOUT:
            click.echo(line)
    if json_file is not None and json_file != STDOUT:
        write_text(json_file, "".join(f"{line}\n" for line in lines), overwrite)
    note = plan.inputs.note()
    if note:
        say(note)
    if plan.is_several and json_file != STDOUT:
        say(tally.summary())
    if not failures:
        return 0
    return failures[0].exit_code if len(lines) + len(plan.inputs.failed) == 1 else 1


def _show(done: "Done", is_quiet: bool, is_only: bool) -> None:
    if done.error:
        complain(done.error)
    for warning in done.warnings:
        warn(f"{done.job.target}: {warning}")
    if not is_quiet and not done.error and (is_only or not sys.stderr.isatty()):
        say(done.summary())
