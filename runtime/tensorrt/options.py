"""Options of the commands that build engines."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from pcsr.errors import UsageError
from pcsr.text import parse_size

from .build import BuildOptions
from .profiles import Shapes, Size
from .store import BuildRequest
from .target import AMPERE_PLUS, SAME_COMPUTE_CAPABILITY

Command = TypeVar("Command", bound=Callable[..., Any])


def _size(ctx: click.Context, param: click.Parameter, text: str | None) -> Size | None:
    try:
        return None if text is None else parse_size(text)
    except UsageError as error:
        raise click.BadParameter(str(error), ctx, param) from error


def _size_option(name: str, what: str) -> Callable[[Command], Command]:
    return click.option(name, callback=_size, metavar="HxW", help=what)


OPTIONS = (
    _size_option("--min-shape", "Smallest input.  [default: 1x1]"),
    _size_option("--opt-shape", "Usual input.  [default: 540x960]"),
    _size_option(
        "--max-shape",
        "Largest input; larger ones are tiled.  [default: 1920x1920, less where a tensor would get "
        "too large]",
    ),
    _size_option("--static", "This size of input and no other: often faster."),
    click.option("--workspace", type=click.IntRange(1), help="Most scratch memory, in MiB."),
    click.option(
        "--timing-cache",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Read and written: later builds are quicker.",
    ),
    click.option(
        "--opt-level",
        type=click.IntRange(0, 5),
        default=BuildOptions.opt_level,
        show_default=True,
        help="How long to search for the fastest engine.",
    ),
    click.option(
        "--version-compatible", is_flag=True, help="Engines for later TensorRT versions too."
    ),
    click.option(
        "--hardware-compatible",
        type=click.Choice([AMPERE_PLUS, SAME_COMPUTE_CAPABILITY]),
        help="Engines for other GPUs too.",
    ),
    click.option(
        "--compute-capability",
        "capabilities",
        multiple=True,
        metavar="X.Y",
        help="TensorRT-RTX: build for these GPUs only, as in 8.9. May be repeated.",
    ),
    click.option("--device", default=BuildRequest.device, show_default=True, help="cuda or cuda:N."),
)


def build_options(function: Command) -> Command:
    """Decorator: the options that `make_request` takes."""
    for option in reversed(OPTIONS):
        function = option(function)
    return function


def make_request(
    min_shape: Size | None,
    opt_shape: Size | None,
    max_shape: Size | None,
    static: Size | None,
    workspace: int | None,
    timing_cache: Path | None,
    opt_level: int,
    version_compatible: bool,
    hardware_compatible: str | None,
    capabilities: tuple[str, ...],
    device: str,
) -> BuildRequest:
    """What the options ask for.

    Raises:
        UsageError: --static beside one of the three other sizes.
    """
    if static and (min_shape or opt_shape or max_shape):
        raise UsageError("--static goes without --min-shape, --opt-shape and --max-shape")
    shapes = Shapes.static(static) if static else Shapes(min_shape, opt_shape, max_shape)
    options = BuildOptions(opt_level, workspace, version_compatible, hardware_compatible)
    return BuildRequest(shapes, options, device, capabilities, timing_cache)
