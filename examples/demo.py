"""The demo exports a checkpoint, upscales a photo, and shows what that cost and gained."""

import hashlib
import os
import sys
from functools import partial
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from skimage import data
from tabulate import tabulate

from pcsr import Bundle, Result, Upscaler, images
from pcsr.bundle import is_bundle
from pcsr.cli import command_errors
from pcsr.export.exporter import ExportOptions, export_bundle
from pcsr.metrics import bicubic_resize, degrade, psnr
from pcsr.models.checkpoint import read_file
from pcsr.overlay import draw_overlay
from pcsr.version import __version__

ROOT = Path(__file__).resolve().parents[1]
PUBLISHED = ROOT.parent / "shared" / "checkpoints" / "carn-pcsr.pth"
OWN = ROOT / "training" / "checkpoints" / "fsrcnn-pcsr-x4.pth"
Image = NDArray[np.uint8]
RUNS = 5


@click.command()
@click.option("--ckpt", type=click.Path(path_type=Path), help="Checkpoint (.pth) to show.")
@click.option(
    "--output", type=click.Path(path_type=Path), default=ROOT / "demo", help="Write here."
)
@command_errors
def main(ckpt: Path | None, output: Path) -> None:
    """Shrink a photo, upscale it with a checkpoint, and compare with the original."""
    if ckpt is None:
        ckpt = PUBLISHED if PUBLISHED.exists() else OWN
        click.echo(f"checkpoint   {os.path.relpath(ckpt)} (CKPT=path make demo takes another)")
    output.mkdir(parents=True, exist_ok=True)
    upscaler = Upscaler(exported(ckpt, output / f"{ckpt.stem}"))
    photo: Image = data.coffee()  # type: ignore[no-untyped-call]
    original, small = degrade(photo, upscaler.bundle.manifest.trained_scale)
    upscaler(small)  # the first run allocates; it would be counted
    results = sorted((upscaler(small) for _ in range(RUNS)), key=lambda run: run.stats.total_ms)
    result = results[RUNS // 2]
    written = save_pictures(output, small, result, upscaler.bundle.upsamplers)
    click.echo(report(upscaler, original, small, result))
    for what, path in written.items():
        click.echo(f"{what:<12} {os.path.relpath(path)}")


def exported(ckpt: Path, bundle: Path) -> Path:
    """Exports a checkpoint, unless the bundle that is there was made from it; returns its path."""
    if is_bundle(bundle):
        manifest = Bundle.load(bundle).manifest
        same = manifest.checkpoint_sha256 == hashlib.sha256(read_file(ckpt)).hexdigest()
        if same and manifest.tools["pcsr"] == __version__:
            return bundle
    say = partial(click.echo, err=True)
    return export_bundle(ckpt, bundle, ExportOptions(overwrite=True), say).bundle.path


def report(upscaler: Upscaler, original: Image, small: Image, result: Result) -> str:
    """Describes quality against bicubic, share of heavy pixels, and time per stage."""
    border = round(upscaler.bundle.manifest.trained_scale)
    bicubic = bicubic_resize(small, *original.shape[:2])
    gained, plain = psnr(result.image, original, border), psnr(bicubic, original, border)
    stats = result.stats
    (h, w), (height, width) = stats.lr_size, stats.hr_size
    lines = [
        f"photo        {w}x{h} -> {width}x{height} with {upscaler.bundle.manifest.model.backbone}",
        f"PSNR (RGB)   {gained:.2f} dB, bicubic {plain:.2f} dB ({gained - plain:+.2f} dB)",
    ]
    if upscaler.bundle.upsamplers > 1:
        lines.append(f"heavy pixels {stats.heavy_share:.1%} of {height * width}")
    times = [
        (stage, f"{ms:.1f}", f"{ms / stats.total_ms:.0%}") for stage, ms in stats.stage_ms.items()
    ]
    times.append(("total", f"{stats.total_ms:.1f}", ""))
    head = ("stage", f"ms (median of {RUNS})", "share")
    table = tabulate(times, head, colalign=("left", "right", "right"))
    return "\n".join([*lines, "", table, ""])


def save_pictures(output: Path, small: Image, result: Result, upsamplers: int) -> dict[str, Path]:
    """Writes the small photo, the upscaled one and its routing map; returns the paths."""
    pictures = {"input": small, "upscaled": result.image}
    if result.assignment is not None and upsamplers > 1:
        pictures["routing map"] = draw_overlay(result.image, result.assignment, upsamplers)
    paths = {what: output / f"coffee-{what.replace(' ', '-')}.png" for what in pictures}
    for what, pixels in pictures.items():
        images.write(images.Picture(pixels), paths[what], overwrite=True)
    return paths


if __name__ == "__main__":
    sys.exit(main())
