"""The command pcsr, and python -m pcsr: every command under one name, each imported when asked for.

Commands are named, not imported: this stands beside what they are built of, and `pcsr --help` must
not wait for them.
"""

from importlib import import_module
from typing import Any

import click

from pcsr.cli import Group
from pcsr.cli.commands import SETTINGS, write_examples
from pcsr.interrupts import run_command

COMMANDS = {
    "export": ("pcsr.export.cli", "Export a checkpoint to a verified ONNX bundle."),
    "upscale": ("pcsr.runtime.files.cli", "Upscale images and videos with a bundle."),
    "evaluate": ("pcsr.calibration.evaluation.cli", "Compare a bundle's results with originals."),
    "profile": ("pcsr.runtime.profiler.cli", "Measure where the milliseconds go."),
    "calibrate": ("pcsr.calibration.cli", "Find presets, budgets and int8 graphs, and keep them."),
    "build": ("pcsr.runtime.tensorrt.cli", "Build TensorRT engines of a bundle."),
    "train": ("pcsr.training.cli", "Train a network as a config says."),
    "serve": ("pcsr.tritonserver.cli", "Serve bundles with NVIDIA Triton Inference Server."),
    "inspect": (
        "pcsr.export.inspection.cli",
        "Say what a checkpoint or a bundle is, and what can be made of it.",
    ),
    "doctor": ("pcsr.runtime.doctor.cli", "Say which backends work on this machine, and why not."),
}


class Umbrella(Group):
    """The commands of COMMANDS, each imported when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Lists them from the checkpoint on."""
        return [*COMMANDS]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Imports a command; None for an unknown name."""
        if name not in COMMANDS:
            return None
        found: Any = import_module(COMMANDS[name][0]).main
        return found  # type: ignore[no-any-return]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes what each is for, without importing it."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the way from a checkpoint to an image."""
        examples = (
            "export --ckpt carn-pcsr.pth -o carn-pcsr/",
            "upscale carn-pcsr/ in.png out.png",
            "calibrate operating-point carn-pcsr/ hr-images/",
            "upscale --help",
        )
        write_examples(formatter, [f"{ctx.command_path} {example}" for example in examples])


main = Umbrella(
    help="From a trained PCSR super-resolution checkpoint to upscaled images, on what you have. "
    "Every command is there by itself, too: pcsr upscale is pcsr-upscale.",
    context_settings=SETTINGS,
)

if __name__ == "__main__":
    run_command("pcsr.__main__")
