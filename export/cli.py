"""Runs pcsr-export: checkpoint -> bundle."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from .single_file.file import SingleFileOptions


@command(
    "--ckpt carn-pcsr.pth -o carn-pcsr/",
    "--ckpt carn-pcsr.pth -o carn-pcsr/ --precision fp32,fp16 --json manifest.json",
    "--ckpt carn-pcsr.pth --single-file carn-pcsr.onnx --k 0",
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
    click.option("-o", "--output", type=FILE, help="Write the bundle to this folder."),
    click.option(
        "--precision",
        default="fp32",
        metavar="LIST",
        help="Write these sets of graphs: fp32 (always), fp16, bf16; separated by commas. One with "
        "--single-file.",
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
@option_group(
    "One file",
    click.option(
        "--single-file",
        type=FILE,
        metavar="FILE.onnx",
        help="Write one graph, image in and upscaled image out, for other programs.",
    ),
    click.option(
        "--form",
        type=click.Choice(["sparse", "dense"]),
        help="sparse (default): heavy pixels are computed alone. dense: for TensorRT, no shape "
        "depends on pixels; everything is computed for every pixel, which saves no time.",
    ),
    click.option("--scale", type=float, help="Bake in this scale; else the trained one."),
    click.option("--k", type=float, help="Bake in this cost weight of the routing; else 0."),
    click.option("--adaptive", is_flag=True, help="Bake in adaptive decision making (ADM)."),
    click.option(
        "--refine/--no-refine", default=None, help="Smooth light pixels; else as the bundle says."
    ),
)
@command_errors
def main(
    ckpt: Path,
    output: Path | None,
    config: Path | None,
    mean: tuple[float, float, float] | None,
    std: tuple[float, float, float] | None,
    opset: int,
    precision: str,
    whole_image: bool,
    json_file: Path | None,
    overwrite: bool,
    single_file: Path | None,
    **baked: Any,  # noqa: ANN401
) -> None:
    """Export a PCSR or plain super-resolution checkpoint to a verified ONNX bundle, or to one ONNX
    file for other programs.

    Reads the published formats (pcsr-phase0, pcsr-phase1, liif, plain networks), and weights alone
    of networks that it recognises. The bundle appears only if every graph and the whole pipeline
    reproduce PyTorch. pcsr-build adds TensorRT engines to it.
    """
    with needs_extra("pcsr-export", "cpu,export"):  # late: --help must not wait for torch
        from . import exporter, network
        from .single_file.file import check_output, export_single_file
    check_text_output(json_file, overwrite)
    precisions = [name.strip() for name in precision.split(",")]
    one_file = _one_file(output, single_file, precisions, overwrite, baked)
    if single_file is not None and one_file is not None:
        check_output(single_file, one_file)
    settings = network.read_config(config) if config else network.NetworkSettings()
    settings = network.filled(network.NetworkSettings(mean, std), settings)
    options = exporter.ExportOptions(settings, opset, overwrite, precisions, whole_image)
    expect_outputs(1 + (single_file is not None))  # the bundle is one, even where it goes again
    with _folder(output) as folder:
        exported = exporter.export_bundle(ckpt, folder, options, say)
        manifest = exported.bundle.manifest.to_json()
        lines = [exporter.format_report(exported)] if output is not None else []
        if single_file is not None and one_file is not None:
            lines.append(export_single_file(folder, single_file, one_file, say, ckpt).report)
    if json_file is not None:
        write_text(json_file, manifest, overwrite)
    if json_file != STDOUT:
        click.echo("\n".join(lines))


def _one_file(
    output: Path | None,
    file: Path | None,
    precisions: Sequence[str],
    overwrite: bool,
    baked: Mapping[str, Any],
) -> "SingleFileOptions | None":
    """Gives what is baked into the one file; None where none is asked for."""
    from .single_file.file import SingleFileOptions

    if file is None:
        given = [f"--{name}" for name, value in baked.items() if value not in (None, False)]
        if given:
            raise click.UsageError(f"{given[0]} is for --single-file alone; name that file, too")
        if output is None:
            raise click.UsageError("Missing option '-o' / '--output', or '--single-file'.")
        return None
    if output is not None and os.path.realpath(output) == os.path.realpath(file):
        raise click.UsageError(
            f"-o and --single-file are both {file}; the bundle is a folder: give it another name"
        )
    if len(precisions) > 1:
        raise click.UsageError("--single-file takes one --precision, fp32 or fp16")
    form = baked["form"] or "sparse"
    return SingleFileOptions(
        **{**baked, "form": form}, precision=precisions[0], overwrite=overwrite
    )


@contextmanager
def _folder(output: Path | None) -> Iterator[Path]:
    """Gives the folder for the bundle; one that goes again where nobody wants the bundle."""
    if output is not None:
        yield output
        return
    with TemporaryDirectory(prefix="pcsr-export-") as folder:
        yield Path(folder) / "bundle"
