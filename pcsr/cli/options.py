"""The options that several commands share, in the groups that their help shows."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from .commands import option_group

Function = TypeVar("Function", bound=Callable[..., Any])
FILE = click.Path(path_type=Path)


class NumberRange(click.FloatRange):
    """Takes a number within bounds, as `click.FloatRange` does, which takes nan for one too."""

    def convert(
        self,
        value: Any,  # noqa: ANN401
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> float:
        """Converts text; a number that is none is a usage error."""
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value} is not in the range {self._describe_range()}.", param, ctx)
        return number


def together(*options: Callable[[Any], Any]) -> Callable[[Function], Function]:
    """Makes one decorator of several."""

    def decorate(function: Function) -> Function:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


json_option = click.option(
    "--json", "json_file", type=FILE, metavar="FILE", help="Write JSON to this file; - for stdout."
)
overwrite_option = click.option("--overwrite", is_flag=True, help="Replace existing outputs.")
threads_option = click.option(
    "--threads",
    type=click.IntRange(1, 256),
    help="Use this many threads of the CPU.  [default: all cores]",
)
tile_option = click.option(
    "--tile",
    default="auto",
    metavar="PX",
    help="Compute in tiles of this side in input pixels, auto by memory; the result is the same.",
)
runtime_options = option_group(
    "Runtime",
    click.option("--device", default="cpu", metavar="NAME", help="Run on cpu, cuda or cuda:N."),
    click.option(
        "--backend",
        default="auto",
        metavar="NAME",
        help="Run with auto, native, onnxruntime, torch or tensorrt.",
    ),
    click.option(
        "--precision",
        default="fp32",
        metavar="NAME",
        help="Run these graphs of the bundle: fp32, fp16, bf16, int8, fp8; bf16 on a CPU runs "
        "those of fp32.",
    ),
    threads_option,
)
"""Decorates a command with what an `Upscaler` is opened with."""
cluster_options = option_group(
    "Cluster",
    click.option(
        "--engine",
        metavar="ray[=ADDRESS]",
        help="Spread images over a Ray cluster: this machine, auto, HOST:PORT or ray://HOST:PORT.",
    ),
    click.option(
        "--workers", type=click.IntRange(1), help="So many of them.  [default: all that fit]"
    ),
    click.option(
        "--on-error",
        type=click.Choice(["record", "stop"]),
        help="What an image that fails is: a row of the manifest, or the end.  [default: record]",
    ),
)
"""Decorates a command with where a cluster does its work."""
image_options = together(
    click.argument("bundle", type=FILE),
    click.argument("images", nargs=-1, required=True, type=FILE),
    option_group(
        "Input",
        click.option(
            "--scale", type=float, help="Upscale by at least 1.  [default: the trained scale]"
        ),
        click.option("--recursive", is_flag=True, help="Look into sub-folders."),
        click.option(
            "--max-pixels",
            type=click.IntRange(1),
            default=2**27,
            help="Refuse larger files before decoding them.",
        ),
    ),
    option_group("Output", json_option, overwrite_option),
    option_group(
        "Routing",
        click.option(
            "--refine/--no-refine",
            default=None,
            help="Smooth light pixels; else as the bundle says.",
        ),
    ),
)
"""Decorates a command with BUNDLE, IMAGES, and how they are read and reported."""
mode_options = option_group(
    "Routing",
    click.option(
        "--k", type=float, multiple=True, help="Weigh cost by this; may repeat.  [default: 0]"
    ),
    click.option(
        "--adaptive", is_flag=True, help="Add adaptive decision making (ADM) to the modes of --k."
    ),
    click.option("--heavy-ratio", type=float, multiple=True, help="Add a share 0..1; may repeat."),
    click.option(
        "--preset",
        multiple=True,
        metavar="NAME",
        help="Add a calibrated preset: quality, balanced, fast; may repeat.",
    ),
    click.option(
        "--budget-ms",
        type=float,
        multiple=True,
        help="Add a calibrated time of an image; may repeat.",
    ),
)
"""Decorates a command with the modes that it compares."""
