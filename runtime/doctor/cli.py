"""The command pcsr-doctor says what is installed, which backends work, and why others do not."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import click

from pcsr.cli import command_errors

from .report import MachineReport, examine


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("bundle", required=False, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@command_errors
def main(bundle: Path | None, as_json: bool) -> None:
    """Say what is installed and prove which backends work by running something tiny in each.

    With BUNDLE, check the hash of every file in it, too. Exit code 0, whatever is missing; 2 for a
    bundle that is damaged.
    """
    report = examine(bundle)
    if as_json:
        click.echo(json.dumps(asdict(report), indent=2))
    else:
        click.echo("\n".join(_lines(report)))


def _lines(report: MachineReport) -> list[str]:
    lines = ["versions", *_pairs(report.versions)]
    lines += ["processor", *_pairs(report.cpu)]
    for index, gpu in enumerate(report.gpus):
        lines += [f"GPU {index}", *_pairs(gpu)]
    lines += [] if report.gpus else ["GPU", "  none found"]
    lines += ["ONNX Runtime's providers", f"  {', '.join(report.providers) or 'none'}"]
    lines.append("backends")
    for check in report.checks:
        answer = "works" if check.works else "no"
        lines.append(f"  {check.backend:<14}{check.device:<6}{answer:<7}{check.detail}")
    if report.bundle is not None:
        lines += ["bundle (every hash is right)", *_pairs(report.bundle)]
    return lines


def _pairs(values: Mapping[str, object]) -> list[str]:
    lines = []
    for name, value in values.items():
        shown = (", ".join(map(str, value)) or "none") if isinstance(value, list) else value
        lines.append(f"  {name:<18}{shown}")
    return lines
