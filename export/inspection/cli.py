"""pcsr-inspect: what a checkpoint or a bundle is, and what can be made of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
    threads_option,
)
from pcsr.errors import UsageError
from pcsr.extras import needs_extra


@command(
    "edsr-baseline-liif.pth",
    "carn-pcsr/ --scale 2",
    "carn-x4.pth --json -",
    "imdn-x4.pth --challenge --images DIV2K_valid_LR/",
)
@click.argument("path", metavar="CKPT|BUNDLE", type=FILE)
@option_group(
    "Input",
    click.option(
        "--scale",
        type=float,
        help="Count the work of upsamplers at this scale.  [default: the trained scale]",
    ),
)
@option_group(
    "Challenge",
    click.option(
        "--challenge",
        is_flag=True,
        help="Report what the NTIRE 2022 challenge on efficient super-resolution does: parameters, "
        "FLOPs, activations, convolutions, peak memory, run time.",
    ),
    click.option(
        "--images", type=FILE, help="Time these LR images.  [default: one of 256x256, of noise]"
    ),
    click.option("--device", metavar="NAME", help="Time on cpu, cuda or cuda:N.  [default: cpu]"),
    threads_option,
)
@option_group("Output", json_option, overwrite_option)
@command_errors
def main(
    path: Path,
    challenge: bool,
    scale: float | None,
    json_file: Path | None,
    overwrite: bool,
    **protocol: Any,  # noqa: ANN401
) -> None:
    """Say what a checkpoint or a bundle is, and what can be made of it.

    Shows the share of work in backbone and tail, whether it can be tiled exactly, what it would
    gain as PCSR, and which precisions and hosts it can go to. Nothing is run on images but with
    --challenge, and nothing is written but the JSON.
    """
    _check_options(challenge, scale, protocol)
    check_text_output(json_file, overwrite)
    say(f"{'measuring' if challenge else 'looking at'} {path} …")
    report = _take_challenge(path, protocol) if challenge else _inspect(path, scale)
    print_report(*report, json_file, overwrite)


def _check_options(challenge: bool, scale: float | None, protocol: Mapping[str, object]) -> None:
    if challenge and scale is not None:
        raise UsageError("a plain network has one scale: leave out --scale with --challenge")
    given = [name for name, value in protocol.items() if value is not None]
    if given and not challenge:
        raise UsageError(f"--{given[0]} says how --challenge measures; add --challenge")


def _inspect(path: Path, scale: float | None) -> tuple[str, str]:
    with needs_extra("pcsr-inspect", "cpu,export"):  # late: --help must not wait for torch
        from .report import inspect_file
        from .table import format_inspection
    found = inspect_file(path, scale)
    return format_inspection(found), found.to_json()


def _take_challenge(path: Path, protocol: Mapping[str, Any]) -> tuple[str, str]:
    with needs_extra("pcsr-inspect --challenge", "cpu,export"):
        from .challenge import Protocol, take_challenge
        from .challenge_table import format_challenge
    given = {name: value for name, value in protocol.items() if value is not None}
    found = take_challenge(path, Protocol(**given))
    return format_challenge(found), found.to_json()
