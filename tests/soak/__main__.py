"""The long run (`make soak`): prints what a process holds while it makes mixed calls."""

import sys
import tempfile
from pathlib import Path

import click
import torch

from pcsr.export.exporter import ExportOptions, export_bundle
from tests import checkpoints

from .run import soak


@click.command()
@click.option("--calls", default=10_000, show_default=True)
@click.option("--backend", "backends", multiple=True, default=("native", "onnxruntime"))
@click.option("--threads", default=3, show_default=True, help="How many call at once.")
@click.option("--bundle", type=click.Path(path_type=Path), help="Else a tiny random network.")
def main(calls: int, backends: tuple[str, ...], threads: int, bundle: Path | None) -> None:
    """Make thousands of calls: sizes, types, scales, ways of routing, streams, bad images,
    cancelled ones. Resident memory, threads and open files must stay as they are.
    """
    faults = []
    with tempfile.TemporaryDirectory() as folder:
        bundle = bundle or _exported(Path(folder))
        for backend in backends:
            click.echo(f"{backend}, {threads} threads")
            found = soak(bundle, backend, calls, threads, click.echo)
            ended = ", ".join(f"{count} {what}" for what, count in found.ended.most_common())
            click.echo(f"{ended}; memory grew by {found.growth_mib:.1f} MiB after warming up")
            faults += [f"{backend}: {fault}" for fault in found.faults()]
    click.echo("\n".join(faults) or "flat")
    sys.exit(1 if faults else 0)


def _exported(folder: Path) -> Path:
    torch.save(checkpoints.tiny("carn", 2), folder / "network.pth")
    export_bundle(folder / "network.pth", folder / "bundle", ExportOptions())
    return folder / "bundle"


if __name__ == "__main__":
    main()
