"""pcsr-profile: where the milliseconds of bundles go, as a table, JSON, a trace and a page."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from pcsr.cli import (
    FILE,
    STDOUT,
    check_text_output,
    command,
    command_errors,
    is_quiet,
    json_option,
    mode_options,
    option_group,
    overwrite_option,
    threads_option,
    tile_option,
    write_text,
)
from pcsr.errors import UsageError
from pcsr.extras import needs_extra
from pcsr.runtime.geometry.tiling import parse_tile
from pcsr.text import one_line, parse_size

from .plan import MeasurementPlan, parse_percentiles


@command(
    "carn-pcsr/ --baseline carn-x4/ --adaptive --preset fast",
    "carn-pcsr/ --size 420x276 --size 960x540 --heavy-ratio 0.2 --json profile.json",
    "carn-pcsr/ --image photo.png --report profile.html",
)
@click.argument("bundles", nargs=-1, required=True, type=FILE)
@option_group(
    "Input",
    click.option("--baseline", type=FILE, help="Bundle of a plain network; gives ratios."),
    click.option(
        "--size",
        "sizes",
        multiple=True,
        metavar="WIDTHxHEIGHT",
        help="Of inputs; may repeat.  [default: 420x276]",
    ),
    click.option(
        "--image", "images", multiple=True, type=FILE, help="A photo or folder; may repeat."
    ),
    click.option(
        "--hr", "originals", multiple=True, type=FILE, help="Originals, to be reduced: PSNR."
    ),
    click.option("--scale", type=float, help="At least 1.  [default: what it was trained for]"),
    click.option("--max-pixels", type=click.IntRange(1), default=2**23, help="Of an input."),
)
@mode_options
@option_group(
    "Routing",
    click.option(
        "--refine/--no-refine", default=None, help="Smooth light pixels; else as the bundle says."
    ),
)
@option_group(
    "Runtime",
    click.option("--device", default="cpu", metavar="NAME", help="cpu, cuda or cuda:N."),
    click.option(
        "--backend",
        "backends",
        multiple=True,
        default=("auto",),
        metavar="NAME",
        help="auto, native, onnxruntime, torch or tensorrt; may repeat.",
    ),
    click.option(
        "--precision",
        "precisions",
        multiple=True,
        default=("fp32",),
        metavar="NAME",
        help="fp32, fp16, bf16, int8, fp8; may repeat.",
    ),
    click.option(
        "--passes",
        type=click.Choice(["auto", "fused", "graphs"]),
        default="auto",
        help="Behind the backbone, on a GPU.",
    ),
    click.option(
        "--build/--no-build", default=True, help="Build TensorRT engines that are missing."
    ),
    threads_option,
    tile_option,
)
@option_group(
    "Measurement",
    click.option(
        "--warmup", type=float, default=200.0, help="Milliseconds of each case, thrown away."
    ),
    click.option("--duration", type=float, default=3.0, help="Seconds of each case, at least."),
    click.option("--iterations", type=int, default=10, help="Calls of each case, at least."),
    click.option("--percentiles", default="50,90,95,99", help="With commas."),
)
@option_group(
    "Output",
    json_option,
    click.option("--trace", type=FILE, help="A few calls for chrome://tracing or Perfetto."),
    click.option("--report", type=FILE, help="One HTML page with plots."),
    overwrite_option,
)
@command_errors
def main(
    sizes: tuple[str, ...],
    warmup: float,
    duration: float,
    iterations: int,
    percentiles: str,
    json_file: Path | None,
    trace: Path | None,
    report: Path | None,
    overwrite: bool,
    tile: str,
    **choices: Any,  # noqa: ANN401
) -> None:
    """Measure BUNDLES on every size or photo in every mode, interleaved in rounds.

    Prints percentiles, throughput, a row per stage with its share of what this machine can do,
    first-use costs, and what makes the figures doubtful.
    """
    if report is not None:
        with needs_extra("pcsr-profile --report", "evaluate"):  # before anything is measured
            from .report.page import write_report
    plan = MeasurementPlan(warmup, duration, iterations, parse_percentiles(percentiles))
    wanted = [parse_size(size) for size in sizes]
    _check_outputs([json_file, trace, report], overwrite)
    from .cases import Choices
    from .profile import measure, prepare, sampled

    prepared = prepare(Choices(sizes=wanted, tile_px=parse_tile(tile), **choices), _show)
    profile = measure(prepared, plan, _show)
    if trace is not None:
        from .trace import record_calls, trace_json

        _show("a few calls more for the trace")
        spans = record_calls(prepared.specs, prepared.bundles)
        write_text(trace, trace_json(spans), overwrite)
    if report is not None:
        _show("the report")
        write_report(profile, report, sampled(prepared), overwrite)
    _show("")
    if json_file is not None:
        write_text(json_file, profile.to_json(), overwrite)
    if json_file != STDOUT:
        from .table import format_profile

        click.echo(format_profile(profile))


def _check_outputs(files: Sequence[Path | None], overwrite: bool) -> None:
    """Refuses before the measurement what could not be written after it."""
    named = [file for file in files if file is not None and file != STDOUT]
    for file in named:
        check_text_output(file, overwrite)
        if named.count(file) > 1:
            raise UsageError(f"{file} is named for two outputs; choose different files")
    if any(file == STDOUT for file in files[1:]):
        raise UsageError("only --json goes to stdout; name a file for --trace and --report")


def _show(text: str) -> None:
    """Shows what goes on, in one line of a terminal that is written over; silent elsewhere. An
    empty text takes the line away.
    """
    if sys.stderr.isatty() and not is_quiet():
        click.echo(f"\r\x1b[K{one_line(text)}{' …' if text else ''}", err=True, nl=False)
