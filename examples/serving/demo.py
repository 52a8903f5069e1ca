"""The demo of serving: a model repository, a running server, and a photo through it."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
from skimage import data
from tabulate import tabulate

from benchmarks.serving.server import serving
from examples.demo import OWN, exported
from examples.serving.kserve import infer
from pcsr import Bundle, images
from pcsr.cli import command_errors
from pcsr.errors import BackendError
from pcsr.metrics import degrade
from pcsr.overlay import draw_overlay

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = ROOT / ".venv-tritonserver" / "bin"
OUTPUTS = ["RESULT_ENCODED", "ROUTING", "HEAVY_SHARE", "STAGE_MS"]
RUNS = 5
Answer = dict[str, Any]


@click.command()
@click.option("--ckpt", type=click.Path(path_type=Path), default=OWN, help="Checkpoint (.pth).")
@click.option("--output", type=click.Path(path_type=Path), default=ROOT / "demo" / "serving")
@command_errors
def main(ckpt: Path, output: Path) -> None:
    """Serve a checkpoint with Triton Inference Server, and upscale a photo by HTTP."""
    output.mkdir(parents=True, exist_ok=True)
    bundle = exported(ckpt, output / ckpt.stem)
    models = output / "models"
    command("pcsr-serve", "repository", bundle, "-o", models, "--overwrite")
    photo = small_photo(output / "photo.png")
    with serving(COMMANDS / "pcsr-serve", models, output / "server.log") as addresses:
        click.echo(f"serving      {os.path.relpath(models)} at http://{addresses.http}")
        answers = [ask(addresses.http, ckpt.stem, photo) for _ in range(RUNS)]
    answer = sorted(answers, key=lambda one: float(one["ms"]))[RUNS // 2]
    upscaled, routing_map = output / "upscaled.png", output / "routing-map.png"
    upscaled.write_bytes(answer["RESULT_ENCODED"])
    pixels = images.read(upscaled, max_pixels=2**24).pixels
    overlay = draw_overlay(pixels, answer["ROUTING"], Bundle.load(bundle).upsamplers)
    images.write(images.Picture(overlay), routing_map, overwrite=True)
    local = output / "by-pcsr-upscale.png"
    command("pcsr-upscale", bundle, photo, local, "--overwrite")
    if local.read_bytes() != upscaled.read_bytes():
        raise BackendError(f"{upscaled} differs from {local}, which pcsr-upscale wrote")
    click.echo(report(answer, pixels.shape))
    for what, path in {"photo": photo, "upscaled": upscaled, "routing map": routing_map}.items():
        click.echo(f"{what:<12} {os.path.relpath(path)}")


def command(*words: str | Path) -> None:
    """Runs a command of the server's environment."""
    name, *rest = map(str, words)
    done = subprocess.run([COMMANDS / name, *rest], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BackendError(done.stderr.strip().removeprefix("error: "))


def small_photo(path: Path) -> Path:
    """Writes a photo, four times smaller than it was."""
    _, small = degrade(data.coffee(), 4)  # type: ignore[no-untyped-call]
    images.write(images.Picture(small), path, overwrite=True)
    return path


def ask(address: str, model: str, photo: Path) -> Answer:
    """Sends a file; gives what came back, and how long that took in milliseconds."""
    start = time.perf_counter()
    inputs = {"ENCODED": photo.read_bytes(), "OUTPUT_FORMAT": "png"}
    answer = infer(address, model, inputs, OUTPUTS)
    return {**answer, "ms": 1000 * (time.perf_counter() - start)}


def stages(answer: Answer) -> dict[str, float]:
    """The milliseconds that the model needed, by stage."""
    times = json.loads(answer["STAGE_MS"])
    return {name: ms for name, ms in times.items() if isinstance(ms, float)}


def report(answer: Answer, shape: tuple[int, ...]) -> str:
    """Describes where the time went, and how much of the image was heavy."""
    times, whole = stages(answer), float(answer["ms"])
    rows = [(name, f"{ms:.1f}") for name, ms in times.items()]
    rows += [("HTTP, the rest", f"{whole - sum(times.values()):.1f}"), ("total", f"{whole:.1f}")]
    share = np.asarray(answer["HEAVY_SHARE"]).item()
    lines = [
        f"result       {shape[1]}x{shape[0]}, the bytes that pcsr-upscale writes",
        f"heavy pixels {share:.1%} of {shape[0] * shape[1]}",
        "",
        tabulate(rows, ("stage", f"ms (median of {RUNS})"), colalign=("left", "right")),
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
