"""Defines the options that all commands have which measure on images, and how these print."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from pcsr.cli import STDOUT, check_text_output, write_text
from pcsr.images import check_output

MeasuringCommand = TypeVar("MeasuringCommand", bound=Callable[..., Any])
FILE = click.Path(path_type=Path)
_IMAGE_OPTIONS = (
    click.argument("bundle", type=FILE),
    click.argument("images", nargs=-1, required=True, type=FILE),
    click.option("--scale", type=float, help="At least 1.  [default: the trained scale]"),
    click.option(
        "--refine/--no-refine", default=True, show_default=True, help="Smooth light pixels."
    ),
    click.option("--json", "json_file", type=FILE, help="JSON file to write; - for stdout."),
    click.option("--overwrite", is_flag=True, help="Replace existing output files."),
    click.option(
        "--max-pixels",
        type=click.IntRange(1),
        default=2**27,
        show_default=True,
        help="Refuse larger files before decoding them.",
    ),
    click.option("--recursive", is_flag=True, help="Look into sub-folders."),
)
_RUNTIME_OPTIONS = (
    click.option("--device", default="cpu", show_default=True, help="Use cpu, cuda or cuda:N."),
    click.option(
        "--backend", default="auto", show_default=True, help="Run graphs as pcsr-upscale does."
    ),
    click.option(
        "--precision", default="fp32", show_default=True, help="Take these graphs of the bundle."
    ),
)


def image_options(command: MeasuringCommand) -> MeasuringCommand:
    """Decorates a command with BUNDLE, IMAGES, and how they are read and reported."""
    return _decorated(command, _IMAGE_OPTIONS)


def runtime_options(command: MeasuringCommand) -> MeasuringCommand:
    """Decorates a command with what an `Upscaler` is opened with."""
    return _decorated(command, _RUNTIME_OPTIONS)


def _decorated(
    command: MeasuringCommand, options: tuple[Callable[[Any], Any], ...]
) -> MeasuringCommand:
    for option in reversed(options):
        command = option(command)
    return command


def check_outputs(curve: Path | None, json_file: Path | None, overwrite: bool) -> None:
    """Refuses, before the computation, what could not be drawn or written after it."""
    if curve is not None:
        check_output(curve, overwrite)
    check_text_output(json_file, overwrite)


def print_report(table: str, text: str, json_file: Path | None, overwrite: bool) -> None:
    """Prints the table, unless the JSON text goes to stdout, and writes the JSON where asked to."""
    if json_file != STDOUT:
        click.echo(table)
    if json_file is not None:
        write_text(json_file, text, overwrite)
