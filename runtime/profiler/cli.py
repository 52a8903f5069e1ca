"""pcsr-profile: where the milliseconds of bundles go, as a table, JSON, a trace and a page."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from pcsr.cli import FILE, STDOUT, check_text_output, command_errors, show_log, write_text
from pcsr.errors import UsageError
from pcsr.extras import needs_extra
from pcsr.text import one_line, parse_size

from .plan import MeasurementPlan, parse_percentiles


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.argument("bundles", nargs=-1, required=True, type=FILE)
@click.option("--baseline", type=FILE, help="Bundle of a plain network; gives ratios.")
@click.option(
    "--size", "sizes", multiple=True, help="HxW of inputs; may repeat. [default: 276x420]"
)
@click.option("--image", "images", multiple=True, type=FILE, help="A photo or folder; may repeat.")
@click.option("--hr", "originals", multiple=True, type=FILE, help="Originals, to be reduced: PSNR.")
@click.option("--scale", type=float, help="At least 1. [default: what it was trained for]")
@click.option("--k", type=float, multiple=True, help="Weight of cost; may repeat. [default: 0]")
@click.option(
    "--adaptive", is_flag=True, help="Add adaptive decision making (ADM) to the modes of --k."
)
@click.option("--heavy-ratio", type=float, multiple=True, help="Add a share 0..1; may repeat.")
@click.option("--preset", multiple=True, help="Add a calibrated preset; may repeat.")
@click.option("--budget-ms", type=float, multiple=True, help="Add a calibrated time; may repeat.")
@click.option("--refine/--no-refine", default=True, help="Smooth light pixels beside heavy ones.")
@click.option("--device", default="cpu", help="cpu, cuda or cuda:N.")
@click.option(
    "--backend", "backends", multiple=True, default=("auto",), help="See pcsr-upscale; may repeat."
)
@click.option("--precision", "precisions", multiple=True, default=("fp32",), help="May repeat.")
@click.option(
    "--passes",
    type=click.Choice(["auto", "fused", "graphs"]),
    default="auto",
    help="Behind the backbone, on a GPU.",
)
@click.option("--build/--no-build", default=True, help="Build TensorRT engines that are missing.")
@click.option("--threads", type=click.IntRange(1, 256), help="[default: all cores]")
@click.option("--warmup", type=float, default=200.0, help="Milliseconds of each case, thrown away.")
@click.option("--duration", type=float, default=3.0, help="Seconds of each case, at least.")
@click.option("--iterations", type=int, default=10, help="Calls of each case, at least.")
@click.option("--percentiles", default="50,90,95,99", help="With commas.")
@click.option("--max-pixels", type=click.IntRange(1), default=2**23, help="Of an input.")
@click.option(
    "--json", "json_file", type=FILE, help="All figures; - for stdout, without the table."
)
@click.option("--trace", type=FILE, help="A few calls for chrome://tracing or Perfetto.")
@click.option("--report", type=FILE, help="One HTML page with plots.")
@click.option("--overwrite", is_flag=True, help="Replace existing outputs.")
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

    if choices["device"] != "cpu":
        show_log()
    prepared = prepare(Choices(sizes=wanted, **choices), _show)
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
    if sys.stderr.isatty():
        click.echo(f"\r\x1b[K{one_line(text)}{' …' if text else ''}", err=True, nl=False)
