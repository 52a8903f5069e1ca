"""Runs pcsr-build: bundle -> TensorRT engines in it."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

from pcsr.bundle import Bundle
from pcsr.cli import FILE, Command, command_errors
from pcsr.errors import UsageError
from pcsr.runtime.backends import CPU_SETS
from pcsr.text import parse_size

from .build import BuildOptions
from .plans import PlanSet
from .profiles import Shapes, Size
from .spinner import spinner
from .store import BuildRequest, build_engines
from .target import AMPERE_PLUS, SAME_COMPUTE_CAPABILITY


def _size(ctx: click.Context, param: click.Parameter, text: str | None) -> Size | None:
    try:
        return None if text is None else parse_size(text)
    except UsageError as error:
        raise click.BadParameter(str(error), ctx, param) from error


def _size_option(name: str, what: str) -> Callable[[Command], Command]:
    return click.option(name, callback=_size, metavar="HxW", help=what)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("bundle", type=FILE)
@click.option(
    "--precision", help="Build these graphs, as in fp16,fp32.  [default: all that the bundle has]"
)
@_size_option("--min-shape", "The smallest input that the engines take.  [default: 1x1]")
@_size_option("--opt-shape", "The input that the engines are tuned for.  [default: 540x960]")
@_size_option(
    "--max-shape",
    "The largest input that the engines take; larger ones are tiled.  [default: 1920x1920, "
    "less where a tensor would get too large]",
)
@_size_option("--static", "Build for this size of input and no other, which is often faster.")
@click.option(
    "--workspace",
    type=click.IntRange(1),
    metavar="MIB",
    help="Allow a layer so much scratch memory.  [default: what the GPU has]",
)
@click.option(
    "--timing-cache",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Read and write the times of kernels here, so that later builds are quicker.",
)
@click.option(
    "--opt-level",
    type=click.IntRange(0, 5),
    default=BuildOptions.opt_level,
    show_default=True,
    help="Search so long for the fastest engine.",
)
@click.option(
    "--version-compatible",
    is_flag=True,
    help="Build engines that run in later TensorRT versions too.",
)
@click.option(
    "--hardware-compatible",
    type=click.Choice([AMPERE_PLUS, SAME_COMPUTE_CAPABILITY]),
    help="Build engines that run on these other GPUs too.",
)
@click.option(
    "--compute-capability",
    "capabilities",
    multiple=True,
    metavar="X.Y",
    help="Build for these GPUs only, as in 8.9 (TensorRT-RTX). May be repeated.",
)
@click.option(
    "--device",
    default=BuildRequest.device,
    show_default=True,
    help="Build for this GPU: cuda or cuda:N.",
)
@click.option("--force", is_flag=True, help="Build also what is there already.")
@click.option("--json", "as_json", is_flag=True, help="Print what was built, as JSON.")
@command_errors
def main(
    bundle: Path,
    precision: str | None,
    force: bool,
    as_json: bool,
    **options: Any,  # noqa: ANN401
) -> None:
    """Build TensorRT engines of BUNDLE and keep them in it.

    TensorRT builds for the GPU that is there. TensorRT-RTX, where only that is installed, needs no
    GPU and builds for all from compute capability 8.0. Engines that are there and valid stay.
    """
    request = _request(**options)
    loaded = Bundle.load(bundle)
    buildable = (name for name in loaded.manifest.graphs if name not in CPU_SETS.values())
    built = build_sets(loaded, precision.split(",") if precision else buildable, request, force)
    click.echo(describe_json(built) if as_json else describe(built))


def build_sets(
    bundle: Bundle, precisions: Iterable[str], request: BuildRequest, force: bool = False
) -> list[PlanSet]:
    """Builds the engines of several precisions, with progress on stderr."""
    precisions = list(dict.fromkeys(precisions))
    for precision in precisions:
        bundle.graphs(precision)  # a wrong name is refused before the first is built
        if precision in CPU_SETS.values():
            raise UsageError(f"{precision} is for ONNX Runtime on a CPU; build int8 instead")
    with spinner() as say:
        return [build_engines(bundle, name, request, force, say) for name in precisions]


def describe(built: Iterable[PlanSet]) -> str:
    """Writes one line per set."""
    return "\n".join(
        f"{found.folder}: {len(found.plans)} engines, {found.size_bytes / 2**20:.1f} MiB, for "
        f"{found.record.facts.target}"
        for found in built
    )


def describe_json(built: Iterable[PlanSet]) -> str:
    """Writes a list of folders with their build.json."""
    sets = [
        {"folder": str(found.folder), "size_bytes": found.size_bytes}
        | json.loads(found.record.to_json())
        for found in built
    ]
    return json.dumps(sets, indent=2)


def _request(
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
    """Makes the request that the options ask for.

    Raises:
        UsageError: --static stands beside one of the three other sizes.
    """
    if static and (min_shape or opt_shape or max_shape):
        raise UsageError("--static goes without --min-shape, --opt-shape and --max-shape")
    shapes = Shapes.static(static) if static else Shapes(min_shape, opt_shape, max_shape)
    options = BuildOptions(opt_level, workspace, version_compatible, hardware_compatible)
    return BuildRequest(shapes, options, device, capabilities, timing_cache)
