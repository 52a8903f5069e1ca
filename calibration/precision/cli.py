"""Runs pcsr-calibrate precision: int8 or fp8 graphs in a bundle, or leave for bf16 on CPUs."""

import sys
from pathlib import Path
from typing import Any

import click

from pcsr.calibration.work_file import LoggedProgress
from pcsr.cli import (
    NumberRange,
    check_outputs,
    command,
    command_errors,
    image_options,
    option_group,
    print_report,
    progress,
    say,
    threads_option,
    warn,
)
from pcsr.extras import needs_extra
from pcsr.images import find_images

SEARCH = ("format", "search_px")
"""Options that say what is quantised."""


@command("carn-pcsr/ hr-images/", "carn-pcsr/ hr-images/ --max-psnr-loss-db 0.1 --json int8.json")
@image_options
@option_group(
    "Input",
    click.option("--lr-only", is_flag=True, help="Take IMAGES as inputs: there are no originals."),
)
@option_group(
    "Calibration",
    click.option(
        "--format",
        type=click.Choice(["int8", "fp8", "bf16"]),
        default="int8",
        help="Quantise to this type; bf16 is measured on this CPU, and changes no graph.",
    ),
    click.option(
        "--max-psnr-loss-db",
        type=NumberRange(0),
        help="Lose at most this much against fp32, in the mean over the images; 0.05 if not given, "
        "0.1 in bf16.",
    ),
    click.option(
        "--min-fidelity-db",
        type=float,
        default=45.0,
        help="With --lr-only, keep this mean PSNR against the fp32 results.",
    ),
    click.option(
        "--search-px",
        type=click.IntRange(16),
        default=128,
        help="Compare candidates on the middle of each image, this many input pixels each way.",
    ),
)
@option_group(
    "Routing",
    click.option("--k", type=float, default=0.0, help="Weigh the cost of upsamplers by this."),
    click.option("--adaptive", is_flag=True, help="Route by adaptive decision making (ADM)."),
    click.option("--heavy-ratio", type=float, help="Take a share 0..1 of heavy pixels, not k."),
)
@option_group("Runtime", threads_option)
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
    with the same command. With --format bf16 nothing is quantised: where the loss is within the
    bound, BUNDLE may run with --precision bf16 on CPUs.
    """
    with needs_extra("pcsr-calibrate precision", "cpu,calibrate"):
        from .bf16.calibration import Bf16Options, calibrate_bf16
        from .calibration import PrecisionOptions, calibrate_precision
        from .report import format_tables
    show = progress if sys.stderr.isatty() else LoggedProgress()
    check_outputs(None, json_file, overwrite)
    if choices["max_psnr_loss_db"] is None:
        del choices["max_psnr_loss_db"]  # each format has its own
    paths = list(find_images(images, recursive))
    if choices["format"] == "bf16":
        own = {name: value for name, value in choices.items() if name not in SEARCH}
        found = calibrate_bf16(bundle, paths, Bf16Options(**own), show)
        print_report(found.table(), found.to_json(), json_file, overwrite)
        say(f"{bundle} opens with --precision bf16 on CPUs now")
        return
    report = calibrate_precision(bundle, paths, PrecisionOptions(**choices), show)
    for warning in report.warnings():
        warn(warning)
    print_report(format_tables(report), report.to_json(), json_file, overwrite)
