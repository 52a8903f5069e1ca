"""The command pcsr-doctor says what is installed, which backends work, and why others do not."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import click

from pcsr.cli import (
    FILE,
    check_text_output,
    command,
    command_errors,
    json_option,
    option_group,
    overwrite_option,
    print_report,
)

from .report import MachineReport, examine


@command("", "carn-pcsr/ --json -")
@click.argument("bundle", required=False, type=FILE)
@option_group("Output", json_option, overwrite_option)
@command_errors
def main(bundle: Path | None, json_file: Path | None, overwrite: bool) -> None:
    """Say what is installed and prove which backends work by running something tiny in each.

    With BUNDLE, check the hash of every file in it, too. Exit code 0, whatever is missing; 2 for a
    bundle that is damaged.
    """
    check_text_output(json_file, overwrite)
    report = examine(bundle)
    text = json.dumps(asdict(report), indent=2) + "\n"
    print_report("\n".join(_lines(report)), text, json_file, overwrite)


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
    lines += ["chosen on this CPU (delete the file to forget it)", *_pairs(report.remembered)]
    if report.bundle is not None:
        lines += ["bundle (every hash is right)", *_pairs(report.bundle)]
    return lines


def _pairs(values: Mapping[str, object]) -> list[str]:
    lines = []
    for name, value in values.items():
        shown = (", ".join(map(str, value)) or "none") if isinstance(value, list) else value
        lines.append(f"  {name:<18}{shown}" if len(name) < 18 else f"  {name}: {shown}")
    return lines
