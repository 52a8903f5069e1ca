"""pcsr-build: bundle -> TensorRT engines in it."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from pcsr.bundle import Bundle
from pcsr.cli import command_errors
from pcsr.errors import UsageError
from pcsr.runtime.backends import CPU_SETS

from .options import build_options, make_request
from .plans import PlanSet
from .spinner import spinner
from .store import BuildRequest, build_engines


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--precision", help="Graphs to build, as in fp16,fp32.  [default: all that the bundle has]"
)
@build_options
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
    request = make_request(**options)
    loaded = Bundle.load(bundle)
    precisions = precision.split(",") if precision else _buildable(loaded)
    built = build_sets(loaded, precisions, request, force)
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


def _buildable(bundle: Bundle) -> list[str]:
    return [name for name in bundle.manifest.graphs if name not in CPU_SETS.values()]


def describe(built: Iterable[PlanSet]) -> str:
    """One line per set."""
    return "\n".join(
        f"{found.folder}: {len(found.plans)} engines, {found.size_bytes / 2**20:.1f} MiB, for "
        f"{found.record.facts.target}"
        for found in built
    )


def describe_json(built: Iterable[PlanSet]) -> str:
    """A list of folders with their build.json."""
    sets = [
        {"folder": str(found.folder), "size_bytes": found.size_bytes}
        | json.loads(found.record.to_json())
        for found in built
    ]
    return json.dumps(sets, indent=2)
