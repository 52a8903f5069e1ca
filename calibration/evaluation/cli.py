"""pcsr-evaluate: quality and cost of a bundle, as a table, JSON and a curve."""

import sys
from pathlib import Path
from typing import Any

import click

from pcsr.cli import STDOUT, check_text_output, command_errors, complain, progress, write_text
from pcsr.errors import ImageError, UsageError
from pcsr.extras import require_packages
from pcsr.images import check_output, find_images

from .evaluation import Options, evaluate
from .report import Report, draw_curve, format_table

_FILE = click.Path(path_type=Path)
_EXTRA = {"PIL": "pillow", "skimage": "scikit-image", "matplotlib": "matplotlib"}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("bundle", type=_FILE)
@click.argument("images", nargs=-1, required=True, type=_FILE)
@click.option("--lr", type=_FILE, help="LR images, paired by name (NAME or NAMEx4); else made.")
@click.option("--scale", type=float, help="At least 1.  [default: the trained scale]")
@click.option("--k", type=float, multiple=True, help="Weight of cost; may repeat.  [default: 0]")
@click.option("--adaptive", is_flag=True, help="Add adaptive decision making (ADM).")
@click.option("--heavy-ratio", type=float, multiple=True, help="Share 0..1; may repeat.")
@click.option("--refine/--no-refine", default=True, show_default=True, help="Smooth light pixels.")
@click.option("--border", type=int, help="Pixels left out per side.  [default: ceil(scale)]")
@click.option("--plain", type=_FILE, help="Bundle of the plain network to compare with.")
@click.option("--curve", type=_FILE, help="PNG of PSNR against time and GFLOPs.")
@click.option("--json", "json_file", type=_FILE, help="JSON file to write; - for stdout.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or cuda:N.")
@click.option("--backend", default="auto", show_default=True, help="As of pcsr-upscale.")
@click.option("--precision", default="fp32", show_default=True, help="Which graphs of the bundle.")
@click.option("--overwrite", is_flag=True, help="Replace existing --curve and --json files.")
@click.option(
    "--max-pixels",
    type=click.IntRange(1),
    default=Options.max_pixels,
    show_default=True,
    help="Refuse larger files before decoding them.",
)
@click.option("--recursive", is_flag=True, help="Look into sub-folders.")
@command_errors
def main(
    bundle: Path,
    images: tuple[Path, ...],
    curve: Path | None,
    json_file: Path | None,
    overwrite: bool,
    **choices: Any,  # noqa: ANN401
) -> None:
    """Compare BUNDLE's results with the HR IMAGES (files or folders) that its input is made from.

    Prints PSNR, SSIM, cost and time of bicubic interpolation, the plain network and each mode.
    """
    require_packages("pcsr-evaluate", _EXTRA, "cpu,evaluate")
    options = Options(**choices)
    _check_outputs(options, curve, json_file, overwrite)
    paths = list(find_images(images, options.recursive))
    with progress(paths, "evaluating") as watched:
        report = evaluate(bundle, watched, options)
    _complain_about(report)
    _print(report, json_file, overwrite)
    if curve is not None and report.scores:
        draw_curve(report, curve, overwrite)
    sys.exit(1 if report.failures else 0)


def _check_outputs(
    options: Options, curve: Path | None, json_file: Path | None, overwrite: bool
) -> None:
    """Refuses before the computation what could not be drawn or written after it."""
    if curve is not None:
        if len(options.modes) < 2:
            raise UsageError("a curve needs at least two modes; repeat --k or add --adaptive")
        check_output(curve, overwrite)
    check_text_output(json_file, overwrite)


def _complain_about(report: Report) -> None:
    for note in report.notes:
        click.echo(f"note: {note}", err=True)
    for failure in report.failures:
        complain(ImageError(failure))


def _print(report: Report, json_file: Path | None, overwrite: bool) -> None:
    if report.scores and json_file != STDOUT:
        click.echo(format_table(report))
    if json_file is not None:
        write_text(json_file, report.to_json(), overwrite)
