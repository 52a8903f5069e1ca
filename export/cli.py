"""Runs pcsr-export: checkpoint -> bundle."""

from pathlib import Path

import click

from pcsr.cli import (
    FILE,
    STDOUT,
    check_text_output,
    command,
    command_errors,
    json_option,
    option_group,
    overwrite_option,
    say,
    write_text,
)
from pcsr.extras import needs_extra
from pcsr.interrupts import expect_outputs


@command(
    "--ckpt carn-pcsr.pth -o carn-pcsr/",
    "--ckpt carn-pcsr.pth -o carn-pcsr/ --precision fp32,fp16 --json manifest.json",
)
@option_group(
    "Input",
    click.option(
        "--ckpt", required=True, type=FILE, help="Read this checkpoint (.pth, .safetensors)."
    ),
    click.option(
        "--config", type=FILE, help="Read normalisation and scale from this training config (YAML)."
    ),
    click.option(
        "--mean",
        nargs=3,
        type=float,
        metavar="R G B",
        help="Subtract this from RGB in [0, 1]; goes before --config.",
    ),
    click.option(
        "--std", nargs=3, type=float, metavar="R G B", help="Divide by this after --mean."
    ),
)
@option_group(
    "Output",
    click.option(
        "-o", "--output", required=True, type=FILE, help="Write the bundle to this folder."
    ),
    click.option(
        "--precision",
        default="fp32",
        metavar="LIST",
        help="Write these sets of graphs: fp32 (always), fp16, bf16; separated by commas.",
    ),
    click.option(
        "--whole-image",
        is_flag=True,
        help="Take plain networks that cannot be cut into tiles; memory is then not bounded.",
    ),
    click.option("--opset", type=click.IntRange(18, 23), default=20, help="Write this ONNX opset."),
    json_option,
    overwrite_option,
)
@command_errors
def main(
    ckpt: Path,
    output: Path,
    config: Path | None,
    mean: tuple[float, float, float] | None,
    std: tuple[float, float, float] | None,
    opset: int,
    precision: str,
    whole_image: bool,
    json_file: Path | None,
    overwrite: bool,
) -> None:
    """Export a PCSR or plain super-resolution checkpoint to a verified ONNX bundle.

    Reads the published formats (pcsr-phase0, pcsr-phase1, liif, plain networks), and weights alone
    of networks that it recognises. The bundle appears only if every graph and the whole pipeline
    reproduce PyTorch. pcsr-build adds TensorRT engines to it.
    """
    with needs_extra("pcsr-export", "cpu,export"):  # late: --help must not wait for torch
        from . import exporter, network
    check_text_output(json_file, overwrite)
    settings = network.read_config(config) if config else network.NetworkSettings()
    settings = network.filled(network.NetworkSettings(mean, std), settings)
    precisions = [name.strip() for name in precision.split(",")]
    options = exporter.ExportOptions(settings, opset, overwrite, precisions, whole_image)
    expect_outputs(1)
    exported = exporter.export_bundle(ckpt, output, options, say)
    if json_file is not None:
        write_text(json_file, exported.bundle.manifest.to_json(), overwrite)
    if json_file != STDOUT:
        click.echo(exporter.format_report(exported))
