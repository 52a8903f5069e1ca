"""pcsr-inspect: what a checkpoint or a bundle is, and what can be made of it."""

from pathlib import Path

import click

from pcsr.cli import (
    FILE,
    check_text_output,
    command,
    command_errors,
    json_option,
    option_group,
    overwrite_option,
    print_report,
    say,
)
from pcsr.extras import needs_extra


@command("edsr-baseline-liif.pth", "carn-pcsr/ --scale 2", "carn-x4.pth --json -")
@click.argument("path", metavar="CKPT|BUNDLE", type=FILE)
@option_group(
    "Input",
    click.option(
        "--scale",
        type=float,
        help="Count the work of upsamplers at this scale.  [default: the trained scale]",
    ),
)
@option_group("Output", json_option, overwrite_option)
@command_errors
def main(path: Path, scale: float | None, json_file: Path | None, overwrite: bool) -> None:
    """Say what a checkpoint or a bundle is, and what can be made of it.

    Shows the share of work in backbone and tail, whether it can be tiled exactly, what it would
    gain as PCSR, and which precisions and hosts it can go to. Nothing is run on images, and nothing
    is written but the JSON.
    """
    with needs_extra("pcsr-inspect", "cpu,export"):  # late: --help must not wait for torch
        from .report import inspect_file
        from .table import format_inspection
    check_text_output(json_file, overwrite)
    say(f"looking at {path} …")
    found = inspect_file(path, scale)
    print_report(format_inspection(found), found.to_json(), json_file, overwrite)
