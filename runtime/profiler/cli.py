"""pcsr-profile: where the milliseconds of bundles go, as a table, JSON, a trace and a page."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from pcsr.cli import STDOUT, check_text_output, command_errors, show_log, write_text
from pcsr.errors import UsageError
from pcsr.extras import needs_extra
from pcsr.text import one_line, parse_size

from .plan import Plan, parse_percentiles

PATH = click.Path(path_type=Path)
MAX_PIXELS = 2**23  # of an input: 2160x3840 and a little


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.argument("bundles", nargs=-1, required=True, type=PATH)
@click.option("--baseline", type=PATH, help="Bundle of a plain network; gives ratios.")
@click.option(
    "--size", "sizes", multiple=True, help="HxW of inputs; may repeat. [default: 276x420]"
)
@click.option("--image", "images", multiple=True, type=PATH, help="A photo or folder; may repeat.")
@click.option("--hr", "originals", multiple=True, type=PATH, help="Originals, to be reduced: PSNR.")
@click.option("--scale", type=float, help="At least 1. [default: what it was trained for]")
@click.option("--k", type=float, multiple=True, help="Weight of cost; may repeat. [default: 0]")
@click.option("--adaptive", is_flag=True, help="Add adaptive decision making (ADM).")
@click.option("--heavy-ratio", type=float, multiple=True, help="Share of heavy pixels; may repeat.")
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
@click.option("--max-pixels", type=click.IntRange(1), default=MAX_PIXELS, help="Of an input.")
@click.option(
    "--json", "json_file", type=PATH, help="All figures; - for stdout, without the table."
)
@click.option("--trace", type=PATH, help="A few calls for chrome://tracing or Perfetto.")
@click.option("--report", type=PATH, help="One HTML page with plots.")
@click.option("--overwrite", is_flag=True, help="Replace existing outputs.")
@command_errors
def main(
    bundles: tuple[Path, ...],
    baseline: Path | None,
    sizes: tuple[str, ...],
    images: tuple[Path, ...],
    originals: tuple[Path, ...],
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
        with needs_extra("pcsr-profile --report", "evaluate"):
            import jinja2  # noqa: F401  # before anything is measured
            import matplotlib  # noqa: F401
    plan = Plan(warmup, duration, iterations, parse_percentiles(percentiles))
    parsed = [parse_size(size) for size in sizes]
    _check_outputs([json_file, trace, report], overwrite)
    from .cases import Choices
    from .profile import Sources, measure, prepare, sampled, traced

    if choices["device"] != "cpu":
        show_log()
    say = _Line()
    prepared = prepare(
        Choices(bundles, baseline, **choices), Sources(parsed, images, originals), say
    )
    profile = measure(prepared, plan, say)
    if trace is not None:
        from .trace import trace_json

        say("a few calls more for the trace")
        write_text(trace, trace_json(traced(prepared)), overwrite)
    if report is not None:
        from .report.page import write_report

        say("the report")
        write_report(profile, report, sampled(prepared), overwrite)
    say.end()
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


class _Line:
    """What goes on, in one line of a terminal that is written over; silent elsewhere."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()

    def __call__(self, text: str) -> None:
        if self._shown:
            click.echo(f"\r\x1b[K{one_line(text)} …", err=True, nl=False)

    def end(self) -> None:
        """Takes the line away."""
        if self._shown:
            click.echo("\r\x1b[K", err=True, nl=False)
