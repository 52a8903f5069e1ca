"""Runs pcsr-evaluate: quality and cost of a bundle, as a table, JSON and a curve."""

import sys
from pathlib import Path
from typing import Any

import click

from pcsr.cli import (
    FILE,
    STDOUT,
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
from .evaluation import evaluate
from .options import EvaluationOptions, swept
from .quoted import test_set_named
from .report import format_table
from .table import FORMATS, table_notes

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
    "fsrcnn-pcsr/ Test2K/HR/ --lr Test2K/LR/ --plain fsrcnn-x4/ --patches 32 --crop --table latex",
    "carn-pcsr/ hr-images/ --both-refinements --k-sweep 0:2:9 --curve sweep.png",
)
@image_options
@option_group(
    "Input",
    click.option("--lr", type=FILE, help="Take LR images here, paired by name (NAME or NAMEx4)."),
    click.option(
        "--unrounded-lr",
        is_flag=True,
        help="Do not round LR images that are made to 8 bits, as in test_pcsr.py.",
    ),
    click.option("--border", type=int, help="Leave out pixels per side.  [default: ceil(scale)]"),
    click.option(
        "--plain",
        type=FILE,
        multiple=True,
        help="Compare with the bundle of the plain network; may repeat, one per backbone.",
    ),
    click.option(
        "--compare", type=FILE, multiple=True, help="Add a PCSR bundle, same modes; may repeat."
    ),
)
@option_group(
    "Protocol",
    click.option(
        "--patches",
        type=int,
        multiple=True,
        metavar="PX",
        help="Add evaluation by patches of this side in input pixels (published: 32); may repeat.",
    ),
    click.option(
        "--step", type=int, metavar="PX", help="Begin a patch each PX.  [default: the side less 4]"
    ),
    click.option(
        "--patch-batch",
        type=int,
        metavar="COUNT",
        help="So many patches share the statistics of --adaptive, --heavy-ratio.  [default: 96]",
    ),
    click.option(
        "--crop", is_flag=True, help="Cut whole images to what patches cover, right and below."
    ),
)
@mode_options
@option_group(
    "Routing",
    click.option(
        "--k-sweep", metavar="FIRST:LAST:COUNT", help="Add evenly spaced values of k, as 0:2:9."
    ),
    click.option(
        "--both-refinements", is_flag=True, help="Evaluate each mode with and without refinement."
    ),
)
@option_group(
    "Output",
    click.option("--curve", type=FILE, help="Draw PSNR against time and GFLOPs as a PNG."),
    click.option(
        "--table",
        type=click.Choice(list(FORMATS)),
        help="Print means as papers do, in this format.",
    ),
    click.option(
        "--test-set",
        metavar="NAME",
        help="Below them quote the paper for Test2K, Test4K or Test8K; needs --table.",
    ),
)
@runtime_options
@option_group("Runtime", tile_option)
@command_errors
def main(
    bundle: Path,
    images: tuple[Path, ...],
    curve: Path | None,
    table: str | None,
    json_file: Path | None,
    overwrite: bool,
    **choices: Any,  # noqa: ANN401
) -> None:
    """Compare BUNDLE's results with the HR IMAGES (files or folders) that its input is made from.

    Prints PSNR, SSIM, cost and time of bicubic interpolation, the plain network and each mode.
    """
    require_packages("pcsr-evaluate", _EXTRA, "cpu,evaluate")
    options = _options(**choices)
    _check(options, curve, table, json_file)
    check_outputs(curve, json_file, overwrite)
    paths = list(find_images(images, options.recursive))
    with progress(paths, "evaluating") as watched:
        report = evaluate(bundle, watched, options)
    for note in (*report.notes, *(table_notes(report) if table else ())):
        say(f"note: {note}")
    for failure in report.failures:
        complain(ImageError(failure))
    if report.scores:
        shown = FORMATS[table](report) if table else format_table(report)
        print_report(shown, report.to_json(), json_file, overwrite)
    elif json_file is not None:
        write_text(json_file, report.to_json(), overwrite)
    if curve is not None and report.scores:
        draw_curve(report, curve, overwrite)
    sys.exit(1 if report.failures else 0)


def _options(
    tile: str,
    k: tuple[float, ...],
    k_sweep: str | None,
    **choices: Any,  # noqa: ANN401
) -> EvaluationOptions:
    k += () if k_sweep is None else swept(k_sweep)
    return EvaluationOptions(tile_px=parse_tile(tile), k=k, **choices)


def _check(
    options: EvaluationOptions, curve: Path | None, table: str | None, json_file: Path | None
) -> None:
    """Raises UsageError where outputs do not go together, before anything is computed."""
    points = len(options.requests) * len(options.protocols) * (1 + len(options.compare))
    if curve is not None and points < 2:
        raise UsageError("a curve needs at least two modes; add --k, --adaptive or --preset")
    if table is not None and json_file == STDOUT:
        raise UsageError(
            "--table and --json - would both go to standard output; write the JSON to a file"
        )
    if options.test_set is not None:
        test_set_named(options.test_set)
        if table is None:
            raise UsageError("--test-set adds rows to a --table; name its format: text, csv, latex")
