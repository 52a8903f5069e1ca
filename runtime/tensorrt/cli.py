"""Runs pcsr-build: bundle -> TensorRT engines in it."""

import functools
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from pcsr.bundle import Bundle
from pcsr.cli import FILE, command_errors
from pcsr.errors import UsageError
from pcsr.runtime.backends import CPU_SETS
from pcsr.text import parse_size

from .build import BuildOptions
from .plans import PlanSet
from .profiles import Shapes
from .store import BuildRequest, build_engines
from .target import AMPERE_PLUS, SAME_COMPUTE_CAPABILITY


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.argument("bundle", type=FILE)
@click.option("--precision", help="Build these, as in fp16,fp32.  [default: all that are there]")
@click.option("--min-shape", metavar="HxW", help="The smallest input.  [default: 1x1]")
@click.option("--opt-shape", metavar="HxW", help="The input to tune for.  [default: 540x960]")
@click.option(
    "--max-shape",
    metavar="HxW",
    help="The largest input; larger ones are tiled.  [default: 1920x1920, less where a tensor "
    "would get too large]",
)
@click.option("--static", metavar="HxW", help="Build for this input alone, which is often faster.")
@click.option(
    "--workspace",
    "workspace_mib",
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
    help="Search so long for the fastest engine.",
)
@click.option("--version-compatible", is_flag=True, help="Allow later TensorRT versions too.")
@click.option(
    "--hardware-compatible",
    type=click.Choice([AMPERE_PLUS, SAME_COMPUTE_CAPABILITY]),
    help="Allow these other GPUs too.",
)
@click.option(
    "--compute-capability",
    "capabilities",
    multiple=True,
    metavar="X.Y",
    help="Build for these GPUs only, as in 8.9 (TensorRT-RTX). May be repeated.",
)
@click.option("--device", default=BuildRequest.device, help="Build for cuda or cuda:N.")
@click.option("--force", is_flag=True, help="Build also what is there already.")
@click.option("--json", "as_json", is_flag=True, help="Print what was built, as JSON.")
@command_errors
def main(
    bundle: Path,
    precision: str | None,
    min_shape: str | None,
    opt_shape: str | None,
    max_shape: str | None,
    static: str | None,
    device: str,
    capabilities: tuple[str, ...],
    timing_cache: Path | None,
    force: bool,
    as_json: bool,
    **options: Any,  # noqa: ANN401
) -> None:
    """Build TensorRT engines of BUNDLE and keep them in it.

    TensorRT builds for the GPU that is there. TensorRT-RTX, where only that is installed, needs no
    GPU and builds for all from compute capability 8.0. Engines that are there and valid stay.
    """
    shapes = _shapes(min_shape, opt_shape, max_shape, static)
    request = BuildRequest(shapes, BuildOptions(**options), device, capabilities, timing_cache)
    loaded = Bundle.load(bundle)
    buildable = [name for name in loaded.manifest.graphs if name not in CPU_SETS.values()]
    precisions = dict.fromkeys(precision.split(",") if precision else buildable)
    for name in precisions:
        loaded.graphs(name)  # a wrong name is refused before the first is built
        if name in CPU_SETS.values():
            raise UsageError(f"{name} is for ONNX Runtime on a CPU; build int8 instead")
    say = functools.partial(click.echo, err=True)
    built = [build_engines(loaded, name, request, force, say) for name in precisions]
    click.echo(_json(built) if as_json else "\n".join(map(_line, built)))


def _shapes(*texts: str | None) -> Shapes:
    *sizes, static = [None if text is None else parse_size(text) for text in texts]
    if static is None:
        return Shapes(*sizes)
    if any(sizes):
        raise UsageError("--static goes without --min-shape, --opt-shape and --max-shape")
    return Shapes.static(static)


def _line(built: PlanSet) -> str:
    size_mib = built.size_bytes / 2**20
    return (
        f"{built.folder}: {len(built.plans)} engines, {size_mib:.1f} MiB, for "
        f"{built.record.facts.target}"
    )


def _json(built: Iterable[PlanSet]) -> str:
    """Writes a list of folders with their build.json."""
    sets = []
    for found in built:
        place = {"folder": str(found.folder), "size_bytes": found.size_bytes}
        sets.append(place | json.loads(found.record.to_json()))
    return json.dumps(sets, indent=2)
