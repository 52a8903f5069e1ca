"""pcsr-calibrate operating-point: presets, budgets and bounds of loss for a bundle."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from pcsr.cli import STDOUT, check_text_output, command_errors, complain, progress, write_text
from pcsr.errors import ImageError
from pcsr.extras import require_packages
from pcsr.images import check_output, find_images
from pcsr.text import parse_size

from .presets import BOUNDS_DB

_FILE = click.Path(path_type=Path)
_EXTRA = {"PIL": "pillow", "scipy": "scikit-image", "matplotlib": "matplotlib"}


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.argument("bundle", type=_FILE)
@click.argument("images", nargs=-1, required=True, type=_FILE)
@click.option("--lr-only", is_flag=True, help="IMAGES are inputs: no originals to compare with.")
@click.option("--assumed-psnr-db", type=float, default=30.0, help="Of all heavy, with --lr-only.")
@click.option("--scale", type=float, help="At least 1. [default: the trained scale]")
@click.option("--refine/--no-refine", default=True, help="Smooth light pixels.")
@click.option("--quality-loss-db", type=float, default=BOUNDS_DB["quality"], help="Of 'quality'.")
@click.option(
    "--balanced-loss-db", type=float, default=BOUNDS_DB["balanced"], help="Of 'balanced'."
)
@click.option("--fast-loss-db", type=float, default=BOUNDS_DB["fast"], help="Of 'fast'.")
@click.option("--rounds", type=int, default=5, help="Timed calls of each case.")
@click.option("--largest", help="HEIGHTxWIDTH of the largest input to time. [default: about 720p]")
@click.option("--curve", type=_FILE, help="PNG of PSNR against time and GFLOPs.")
@click.option("--json", "json_file", type=_FILE, help="JSON file to write; - for stdout.")
@click.option("--overwrite", is_flag=True, help="Replace existing --curve and --json files.")
@click.option("--device", default="cpu", help="cpu, cuda or cuda:N.")
@click.option("--backend", default="auto", help="As of pcsr-upscale.")
@click.option("--precision", default="fp32", help="Which graphs of the bundle.")
@click.option("--threads", type=click.IntRange(1, 256), help="[default: all cores]")
@click.option("--max-pixels", type=click.IntRange(1), default=2**27, help="Refuse larger files.")
@click.option("--recursive", is_flag=True, help="Look into sub-folders.")
@command_errors
def operating_point(
    bundle: Path,
    images: tuple[Path, ...],
    quality_loss_db: float,
    balanced_loss_db: float,
    fast_loss_db: float,
    largest: str | None,
    curve: Path | None,
    json_file: Path | None,
    overwrite: bool,
    recursive: bool,
    **choices: Any,  # noqa: ANN401
) -> None:
    """Find presets and times of BUNDLE on IMAGES (files or folders of originals), on this machine.

    Writes them into the bundle, for --preset, --budget-ms and --max-psnr-loss-db of pcsr-upscale. A
    run on another machine adds its times. An interrupted run goes on when it is called again.
    """
    require_packages("pcsr-calibrate operating-point", _EXTRA, "cpu,evaluate")
    from .calibration import Options, calibrate
    from .report import draw, format_table

    losses = (quality_loss_db, balanced_loss_db, fast_loss_db)
    bounds = dict(zip(BOUNDS_DB, losses, strict=True))
    most = None if largest is None else parse_size(largest)
    options = Options(bounds_db=bounds, largest=most, **choices)
    _check_outputs(curve, json_file, overwrite)
    try:
        found = calibrate(bundle, list(find_images(images, recursive)), options, progress)
    except KeyboardInterrupt:
        click.echo("run the same command again to go on from here", err=True)
        raise
    for failure in found.failures:
        complain(ImageError(failure))
    text = json.dumps(found.data, indent=2) + "\n"
    if json_file != STDOUT:
        click.echo(format_table(found))
    if json_file is not None:
        write_text(json_file, text, overwrite)
    if curve is not None:
        draw(found, curve, overwrite)
    sys.exit(1 if found.failures else 0)


def _check_outputs(curve: Path | None, json_file: Path | None, overwrite: bool) -> None:
    if curve is not None:
        check_output(curve, overwrite)
    check_text_output(json_file, overwrite)
