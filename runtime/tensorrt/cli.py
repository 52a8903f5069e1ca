"""Runs pcsr-build: bundle -> TensorRT engines in it."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from pcsr.bundle import Bundle
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
from pcsr.errors import UsageError
from pcsr.runtime.backends import CPU_SETS
from pcsr.text import parse_size

from .build import BuildOptions
from .plans import PlanSet
from .profiles import Shapes
from .record import format_plan
from .store import BuildRequest, build_engines
from .target import AMPERE_PLUS, SAME_COMPUTE_CAPABILITY
from .verify import EngineCheck, check_can_verify, verify_engines


@command("carn-pcsr/ --precision fp16", "carn-pcsr/ --static 1920x1080 --json engines.json")
@click.argument("bundle", type=FILE)
@option_group(
    "Sizes of the input, as WIDTHxHEIGHT",
    click.option("--min-shape", metavar="WxH", help="The smallest input.  [default: 1x1]"),
    click.option("--opt-shape", metavar="WxH", help="The input to tune for.  [default: 960x540]"),
    click.option(
        "--max-shape",
        metavar="WxH",
        help="The largest input; larger ones are tiled.  [default: 1920x1920, less where a tensor "
        "would get too large]",
    ),
    click.option(
        "--static", metavar="WxH", help="Build for this input alone, which is often faster."
    ),
)
@option_group(
    "Engines",
    click.option(
        "--precision", help="Build these, as in fp16,fp32.  [default: all that are there]"
    ),
    click.option(
        "--workspace",
        "workspace_mib",
        type=click.IntRange(1),
        metavar="MIB",
        help="Allow a layer so much scratch memory.  [default: what the GPU has]",
    ),
    click.option(
        "--timing-cache",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Read and write the times of kernels here, so that later builds are quicker.",
    ),
    click.option(
        "--opt-level",
        type=click.IntRange(0, 5),
        default=BuildOptions.opt_level,
        help="Search so long for the fastest engine.",
    ),
    click.option("--force", is_flag=True, help="Build also what is there already."),
    click.option(
        "--verify",
        is_flag=True,
        help="Compare each engine with ONNX Runtime (Polygraphy), and keep the report.",
    ),
)
@option_group(
    "Where they run",
    click.option("--device", default=BuildRequest.device, help="Build for cuda or cuda:N."),
    click.option("--version-compatible", is_flag=True, help="Allow later TensorRT versions too."),
    click.option(
        "--hardware-compatible",
        type=click.Choice([AMPERE_PLUS, SAME_COMPUTE_CAPABILITY]),
        help="Allow these other GPUs too.",
    ),
    click.option(
        "--compute-capability",
        "capabilities",
        multiple=True,
        metavar="X.Y",
        help="Build for these GPUs only, as in 8.9 (TensorRT-RTX). May be repeated.",
    ),
)
@option_group("Output", json_option, overwrite_option)
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
    verify: bool,
    json_file: Path | None,
    overwrite: bool,
    **options: Any,  # noqa: ANN401
) -> None:
    """Build TensorRT engines of BUNDLE and keep them in it.

    TensorRT builds for the GPU that is there. TensorRT-RTX, where only that is installed, needs no
    GPU and builds for all from compute capability 8.0. Engines that are there and valid stay.
    """
    check_text_output(json_file, overwrite)
    shapes = _shapes(min_shape, opt_shape, max_shape, static)
    request = BuildRequest(shapes, BuildOptions(**options), device, capabilities, timing_cache)
    loaded = Bundle.load(bundle)
    buildable = [name for name in loaded.manifest.graphs if name not in CPU_SETS.values()]
    precisions = dict.fromkeys(precision.split(",") if precision else buildable)
    for name in precisions:
        loaded.graphs(name)  # a wrong name is refused before the first is built
        if name in CPU_SETS.values():
            raise UsageError(f"{name} is for ONNX Runtime on a CPU; build int8 instead")
    gpu = check_can_verify(device) if verify else None
    built = [build_engines(loaded, name, request, force, say) for name in precisions]
    checks = {one.folder: verify_engines(loaded, one, gpu, say) for one in built} if gpu else {}
    print_report("\n".join(map(_line, built)), _json(built, checks), json_file, overwrite)


def _shapes(*texts: str | None) -> Shapes:
    *sizes, static = [None if text is None else parse_size(text) for text in texts]
    if static is None:
        return Shapes(*sizes)
    if any(sizes):
        raise UsageError("--static goes without --min-shape, --opt-shape and --max-shape")
    return Shapes.static(static)


def _line(built: PlanSet) -> str:
    size_mib = built.size_bytes / 2**20
    head = (
        f"{built.folder}: {len(built.plans)} engines, {size_mib:.1f} MiB, for "
        f"{built.record.facts.target}"
    )
    rows = [f"  {role}: {format_plan(plan)}" for role, plan in built.record.plans.items()]
    return "\n".join([head, *rows])


def _json(built: Iterable[PlanSet], checks: Mapping[Path, Mapping[str, EngineCheck]]) -> str:
    """Writes a list of folders with their build.json, and how their engines compared."""
    sets = []
    for found in built:
        place: dict[str, Any] = {"folder": str(found.folder), "size_bytes": found.size_bytes}
        if found.folder in checks:
            of_set = checks[found.folder]
            place["verification"] = {role: check.to_json() for role, check in of_set.items()}
        sets.append(place | json.loads(found.record.to_json()))
    return json.dumps(sets, indent=2) + "\n"
