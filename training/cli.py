"""Runs pcsr-train: a config and photos -> a checkpoint that pcsr-export reads."""

from contextlib import closing
from pathlib import Path

import click

from pcsr.cli import FILE, command, command_errors, is_quiet
from pcsr.extras import needs_extra


@command(
    "carn-pcsr.yaml -o run/",
    "carn-pcsr.yaml -o run/ --device cuda --set train_dataset.batch_size=16",
    "liif-pcsr.yaml -o run/ --teacher edsr-baseline-liif.pth --images photos/",
)
@click.argument("config", type=FILE)
@click.option(
    "-o",
    "--output",
    required=True,
    type=FILE,
    help="Train into this folder; a run that is there goes on.",
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Replace a config key (a.b.c=1).",
)
@click.option(
    "--teacher",
    type=FILE,
    metavar="CKPT",
    help="Learn from this network: its backbone, its answers. [default: teacher.path of CONFIG]",
)
@click.option("--images", type=FILE, metavar="DIR", help="Train on the images of this folder.")
@click.option("--device", default="cpu", metavar="NAME", help="Train on cpu, cuda or cuda:N.")
@command_errors
def main(
    config: Path,
    output: Path,
    overrides: tuple[str, ...],
    teacher: Path | None,
    images: Path | None,
    device: str,
) -> None:
    """Train a PCSR network as CONFIG (YAML, the published keys) says, stage after stage.

    Interrupt it at any time; the same command goes on. OUTPUT/network.pth is the result. Under
    torchrun every process trains on its own batches. With a teacher (a LIIF, PCSR or plain network)
    the end is a table of both, in OUTPUT/comparison.md too.
    """
    with needs_extra("pcsr-train", "train"):
        from pcsr.runtime.devices import torch_device

        from .config import load_config, named
        from .distillation.run import trainer_of
        from .report import Reporter
    torch_device(device)  # is it there?
    settings = load_config(config, [*named(teacher, images), *overrides])
    trainer = trainer_of(settings, output, device)
    quiet = trainer.rank > 0 or is_quiet()
    for note in () if quiet else trainer.notes:
        click.echo(f"note: {note}", err=True)
    with closing(Reporter(output, quiet, settings.report_every)) as reporter:
        result = trainer.run(reporter)
    if trainer.rank == 0:
        if trainer.summary and not is_quiet():
            click.echo(trainer.summary, err=True)
        click.echo(result)


if __name__ == "__main__":
    main()
