"""The demo of serving: a model repository, a running server, and a photo through it."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import click
import numpy as np
from skimage import data
from tabulate import tabulate

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
STARTS_WITHIN_S, RUNS = 120, 5
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
    with serving(models, output / "server.log") as address:
        answers = [ask(address, ckpt.stem, photo) for _ in range(RUNS)]
    answer = sorted(answers, key=lambda one: sum(stages(one).values()))[RUNS // 2]
    upscaled, routing_map = output / "upscaled.png", output / "routing-map.png"
    upscaled.write_bytes(answer["RESULT_ENCODED"])
    pixels, upsamplers = (
        images.read(upscaled, 2**24).pixels,
        Bundle.load(bundle).upsamplers,
    )
    overlay = images.Picture(draw_overlay(pixels, answer["ROUTING"], upsamplers))
    images.write(overlay, routing_map, overwrite=True)
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


@contextlib.contextmanager
def serving(models: Path, log: Path) -> Iterator[str]:
    """Runs a server on free ports; gives its address."""
    ports = dict(zip(("http", "grpc", "metrics"), free_ports(3), strict=True))
    options = [f"--{name}-port={port}" for name, port in ports.items()]
    line: list[str | Path] = [COMMANDS / "pcsr-serve", "start", models, *options]
    with log.open("wb") as opened, subprocess.Popen(line, stderr=opened) as process:
        try:
            address = f"127.0.0.1:{ports['http']}"
            wait_until_ready(process, address, log)
            click.echo(f"serving      {os.path.relpath(models)} at http://{address}")
            yield address
        finally:
            process.send_signal(signal.SIGTERM)


def wait_until_ready(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    """Waits until the server takes requests."""
    end = time.monotonic() + STARTS_WITHIN_S
    while process.poll() is None and time.monotonic() < end:
        with contextlib.suppress(URLError), urlopen(f"http://{address}/v2/health/ready"):
            return
        time.sleep(0.1)
    raise BackendError(f"the server did not start: {log.read_text().splitlines()[-1]}")


def free_ports(count: int) -> list[int]:
    """Finds ports that nobody listens on."""
    with contextlib.ExitStack() as stack:
        servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
        for server in servers:
            stack.enter_context(server)
        return [server.getsockname()[1] for server in servers]


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
