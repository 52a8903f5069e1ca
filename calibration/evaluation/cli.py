"""Runs pcsr-evaluate: quality and cost of a bundle, as a table, JSON and a curve."""

import sys
from pathlib import Path
from typing import Any

import click

from pcsr.cli import (
    FILE,
    check_outputs,
    command,
    command_errors,
    complain,
    image_options,
    mode_options,
    option_group,
    print_report,
    progress,
    runtime_options,
    say,
    tile_option,
    write_text,
)
from pcsr.errors import ImageError, UsageError
from pcsr.extras import require_packages
from pcsr.images import find_images
from pcsr.runtime.geometry.tiling import parse_tile

from .curve import draw_curve
from .evaluation import EvaluationOptions, evaluate
from .report import format_table

_EXTRA = {
    "PIL": "pillow",
    "skimage": "scikit-image",
    "matplotlib": "matplotlib",
    "adjustText": "adjustText",
}


@command(
    "carn-pcsr/ hr-images/",
    "carn-pcsr/ hr-images/ --k 1 --adaptive --preset fast --plain carn-x4/ --curve curve.png",
    "carn-pcsr/ hr-images/ --lr lr-images/ --json scores.json",
)
@image_options
@option_group(
    "Input",
    click.option("--lr", type=FILE, help="Take LR images here, paired by name (NAME or NAMEx4)."),
    click.option("--border", type=int, help="Leave out pixels per side.  [default: ceil(scale)]"),
    click.option("--plain", type=FILE, help="Compare with the bundle of the plain network."),
)
@mode_options
@option_group(
    "Output",
    click.option("--curve", type=FILE, help="Draw PSNR against time and GFLOPs as a PNG."),
)
@runtime_options
@option_group("Runtime", tile_option)
@command_errors
def main(
    bundle: Path,
    images: tuple[Path, ...],
    curve: Path | None,
    json_file: Path | None,
    overwrite: bool,
    tile: str,
    **choices: Any,  # noqa: ANN401
) -> None:
    """Compare BUNDLE's results with the HR IMAGES (files or folders) that its input is made from.

    Prints PSNR, SSIM, cost and time of bicubic interpolation, the plain network and each mode.
    """
    require_packages("pcsr-evaluate", _EXTRA, "cpu,evaluate")
    options = EvaluationOptions(tile_px=parse_tile(tile), **choices)
    if curve is not None and len(options.requests) < 2:
        raise UsageError("a curve needs at least two modes; add --k, --adaptive or --preset")
    check_outputs(curve, json_file, overwrite)
    paths = list(find_images(images, options.recursive))
    with progress(paths, "evaluating") as watched:
        report = evaluate(bundle, watched, options)
    for note in report.notes:
        say(f"note: {note}")
    for failure in report.failures:
        complain(ImageError(failure))
    if report.scores:
        print_report(format_table(report), report.to_json(), json_file, overwrite)
    elif json_file is not None:
        write_text(json_file, report.to_json(), overwrite)
    if curve is not None and report.scores:
        draw_curve(report, curve, overwrite)
    sys.exit(1 if report.failures else 0)
