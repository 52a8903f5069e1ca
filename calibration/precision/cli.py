"""pcsr-calibrate precision: int8 or fp8 graphs in a bundle."""

from pathlib import Path
from typing import Any

import click

from pcsr.cli import STDOUT, check_text_output, command_errors, progress, warn, write_text
from pcsr.extras import needs_extra
from pcsr.images import find_images

_FILE = click.Path(path_type=Path)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("bundle", type=_FILE)
@click.argument("images", nargs=-1, required=True, type=_FILE)
@click.option("--format", type=click.Choice(["int8", "fp8"]), default="int8", show_default=True)
@click.option(
    "--max-psnr-loss-db",
    type=click.FloatRange(0),
    default=0.05,
    show_default=True,
    help="Mean over the images, against fp32.",
)
@click.option("--lr-only", is_flag=True, help="IMAGES are inputs; there are no originals.")
@click.option(
    "--min-fidelity-db",
    type=float,
    default=45.0,
    show_default=True,
    help="For --lr-only: mean PSNR against the fp32 results.",
)
@click.option("--scale", type=float, help="At least 1.  [default: the trained scale]")
@click.option("--k", type=float, default=0.0, show_default=True, help="Weight of cost.")
@click.option("--adaptive", is_flag=True, help="Route by adaptive decision making (ADM).")
@click.option("--heavy-ratio", type=float, help="Share 0..1 of heavy pixels, instead of k.")
@click.option("--refine/--no-refine", default=True, show_default=True, help="Smooth light pixels.")
@click.option(
    "--search-px",
    type=click.IntRange(16),
    default=128,
    show_default=True,
    help="Candidates are compared on the middle of each image, so many input pixels each way.",
)
@click.option("--threads", type=click.IntRange(1, 256), help="[default: all cores]")
@click.option("--max-pixels", type=click.IntRange(1), default=2**27, show_default=True)
@click.option("--recursive", is_flag=True, help="Look into sub-folders.")
@click.option("--json", "json_file", type=_FILE, help="JSON file to write; - for stdout.")
@click.option("--overwrite", is_flag=True, help="Replace an existing --json file.")
@command_errors
def precision(
    bundle: Path,
    images: tuple[Path, ...],
    recursive: bool,
    json_file: Path | None,
    overwrite: bool,
    **choices: Any,  # noqa: ANN401
) -> None:
    """Quantise the image graph of BUNDLE and keep it there, measured on IMAGES (files or folders).

    As many layers become int8 (or fp8) as the loss allows. An interrupted run goes on where it was
    with the same command.
    """
    with needs_extra("pcsr-calibrate precision", "cpu,calibrate"):
        from .calibration import PrecisionOptions, calibrate_precision
        from .report import format_tables
    check_text_output(json_file, overwrite)
    options = PrecisionOptions(**choices)
    paths = list(find_images(images, recursive))
    report = calibrate_precision(bundle, paths, options, progress)
    for warning in report.warnings():
        warn(warning)
    if json_file != STDOUT:
        click.echo(format_tables(report))
    if json_file is not None:
        write_text(json_file, report.to_json(), overwrite)
