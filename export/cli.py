"""Runs pcsr-export: checkpoint -> bundle."""

from functools import partial
from pathlib import Path

import click

from pcsr.cli import FILE, command_errors
from pcsr.extras import needs_extra
from pcsr.interrupts import expect_outputs


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--ckpt", required=True, type=FILE, help="Read this checkpoint (.pth).")
@click.option("-o", "--output", required=True, type=FILE, help="Write the bundle to this folder.")
@click.option(
    "--config", type=FILE, help="Read normalisation and scale from this training config (YAML)."
)
@click.option(
    "--mean",
    nargs=3,
    type=float,
    metavar="R G B",
    help="Subtract this from RGB in [0, 1]; goes before --config.",
)
@click.option("--std", nargs=3, type=float, metavar="R G B", help="Divide by this after --mean.")
@click.option("--opset", type=click.IntRange(18, 23), default=20, help="Write this ONNX opset.")
@click.option(
    "--precision",
    default="fp32",
    metavar="LIST",
    help="Write these sets of graphs: fp32 (always), fp16, bf16; separated by commas.",
)
@click.option("--overwrite", is_flag=True, help="Replace an existing bundle.")
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
    as_json: bool,
) -> None:
    """Export a PCSR or plain super-resolution checkpoint to a verified ONNX bundle.

    Reads the published formats (pcsr-phase0, pcsr-phase1, plain networks). The bundle appears only
    if every graph and the whole pipeline reproduce PyTorch. pcsr-build adds TensorRT engines to it.
    """
    with needs_extra("pcsr-export", "cpu,export"):  # late: --help must not wait for torch
        from . import exporter, network
    settings = network.read_config(config) if config else network.NetworkSettings()
    settings = network.filled(network.NetworkSettings(mean, std), settings)
    precisions = [name.strip() for name in precision.split(",")]
    options = exporter.ExportOptions(settings, opset, overwrite, precisions)
    expect_outputs(1)
    exported = exporter.export_bundle(ckpt, output, options, partial(click.echo, err=True))
    if as_json:
        click.echo(exported.bundle.manifest.to_json(), nl=False)
    else:
        click.echo(exporter.format_report(exported))
