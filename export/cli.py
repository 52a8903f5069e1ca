"""pcsr-export: checkpoint -> bundle."""

from functools import partial
from pathlib import Path
from typing import Any

import click

from pcsr.cli import command_errors
from pcsr.errors import UsageError
from pcsr.extras import needs_extra
from pcsr.runtime.tensorrt import cli as engines
from pcsr.runtime.tensorrt.cli import build_options, make_request
from pcsr.runtime.tensorrt.store import BuildRequest, check_request


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--ckpt", required=True, type=click.Path(path_type=Path), help="Checkpoint (.pth).")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="Bundle directory to write.",
)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="Training config (YAML): normalisation and scale.",
)
@click.option(
    "--mean",
    nargs=3,
    type=float,
    metavar="R G B",
    help="Subtracted from RGB in [0, 1]; before --config.",
)
@click.option("--std", nargs=3, type=float, metavar="R G B", help="Divided by after --mean.")
@click.option(
    "--opset", type=click.IntRange(18, 23), default=20, show_default=True, help="ONNX opset."
)
@click.option(
    "--precision",
    default="fp32",
    show_default=True,
    metavar="LIST",
    help="Sets of graphs: fp32 (always written), fp16, bf16; separated by commas.",
)
@click.option("--overwrite", is_flag=True, help="Replace an existing bundle.")
@click.option("--tensorrt", is_flag=True, help="Build engines too, as pcsr-build does. With it:")
@build_options
@click.option("--json", "as_json", is_flag=True, help="Print the manifest instead of the table.")
@command_errors
def main(
    ckpt: Path,
    output: Path,
    config: Path | None,
    mean: tuple[float, float, float] | None,
    std: tuple[float, float, float] | None,
    opset: int,
    precision: str,
    overwrite: bool,
    tensorrt: bool,
    as_json: bool,
    **engine_options: Any,  # noqa: ANN401
) -> None:
    """Export a PCSR or plain super-resolution checkpoint to a verified ONNX bundle.

    Reads the published formats (pcsr-phase0, pcsr-phase1, plain networks). The bundle appears only
    if every graph and the whole pipeline reproduce PyTorch.
    """
    request = make_request(**engine_options)
    if tensorrt:
        check_request(request)
    elif request != BuildRequest():
        raise UsageError("options of engines go with --tensorrt")
    with needs_extra("pcsr-export", "cpu,export"):  # late: --help must not wait for torch
        from . import exporter, network
    settings = network.read_config(config) if config else network.Settings()
    settings = network.filled(network.Settings(mean, std), settings)
    precisions = [name.strip() for name in precision.split(",")]
    options = exporter.ExportOptions(settings, opset, overwrite, precisions)
    exported = exporter.export_bundle(ckpt, output, options, partial(click.echo, err=True))
    sets = exported.bundle.manifest.graphs
    built = engines.build_sets(exported.bundle, sets, request) if tensorrt else []
    if as_json:
        click.echo(exported.bundle.manifest.to_json(), nl=False)
    else:
        click.echo(exporter.format_report(exported))
        click.echo(engines.describe(built), nl=bool(built))
