"""Runs pcsr-calibrate operating-point: presets, budgets and bounds of loss for a bundle."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from pcsr.calibration.work_file import LoggedProgress
from pcsr.cli import (
    FILE,
    check_outputs,
    command,
    command_errors,
    complain,
    image_options,
    option_group,
    print_report,
    progress,
    runtime_options,
    say,
    warn,
)
from pcsr.errors import ImageError
from pcsr.extras import require_packages
from pcsr.images import find_images
from pcsr.text import parse_size

from .calibration import BOUNDS_DB, OperatingPointOptions, calibrate
from .report import draw, format_table

_EXTRA = {
    "PIL": "pillow",
    "scipy": "scikit-image",
    "matplotlib": "matplotlib",
    "adjustText": "adjustText",
}


def _bound_option(bound: tuple[str, float]) -> Callable[[Any], Any]:
    """Makes the option of a preset's bound."""
    name, bound_db = bound
    text = f"Let '{name}' lose at most this."
    return click.option(f"--{name}-loss-db", type=float, default=bound_db, help=text)


@command("carn-pcsr/ hr-images/", "carn-pcsr/ video-frames/ --lr-only --largest 1280x720")
@image_options
@option_group(
    "Input",
    click.option("--lr-only", is_flag=True, help="Take IMAGES as inputs: there are no originals."),
)
@option_group(
    "Calibration",
    click.option(
        "--assumed-psnr-db",
        type=float,
        default=30.0,
        help="With --lr-only, assume this of all heavy.",
    ),
    *map(_bound_option, BOUNDS_DB.items()),
    click.option("--rounds", type=int, default=5, help="Time each case this many times."),
    click.option(
        "--largest",
        metavar="WIDTHxHEIGHT",
        help="Time inputs up to this size.  [default: about 720p]",
    ),
)
@option_group(
    "Output",
    click.option("--curve", type=FILE, help="Draw PSNR against time and GFLOPs as a PNG."),
)
@runtime_options
@command_errors
def operating_point(
    bundle: Path,
    images: tuple[Path, ...],
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
    bounds = {name: choices.pop(f"{name}_loss_db") for name in BOUNDS_DB}
    most = None if largest is None else parse_size(largest)
    options = OperatingPointOptions(bounds_db=bounds, largest=most, **choices)
    show = progress if sys.stderr.isatty() else LoggedProgress()
    check_outputs(curve, json_file, overwrite)
    try:
        found = calibrate(bundle, list(find_images(images, recursive)), options, show)
    except KeyboardInterrupt:
        say("run the same command again to go on from here")
        raise
    for failure in found.failures:
        complain(ImageError(failure))
    for warning in found.data["warnings"]:
        warn(warning)
    text = json.dumps(found.data, indent=2) + "\n"
    print_report(format_table(found), text, json_file, overwrite)
    if curve is not None:
        draw(found, curve, overwrite)
    sys.exit(1 if found.failures else 0)
