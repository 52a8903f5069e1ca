"""make gpu: is every path on this GPU right, and how fast is it?"""

import re
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from pcsr.atomic import atomic_file
from pcsr.cli import command_errors, complain
from pcsr.errors import PcsrError
from pcsr.text import parse_size

from .device.exporting import ExportedModel, export_models
from .device.link import Link
from .device.report import write_details, write_summary
from .device.sections import MODELS, PRECISIONS, QUICK_SIZES, SIZES, make_sections
from .device.summary import faults
from .device.supervisor import Supervisor
from .environment import ROOT
from .records import Record, append_group

FOLDER = click.Path(path_type=Path, file_okay=False)
EXPORT_SHARE = 0.5  # of the budget, at most
QUICK_MODELS = ("fsrcnn",)


@dataclass
class Journal:
    """Keeps what was found, in memory and at once in a file."""

    file: Path
    run: str
    records: list[Record] = field(default_factory=list)

    def keep(self, record: Record) -> None:
        """Adds one record."""
        record = {"run": self.run, "model": "", "precision": ""} | record
        self.records.append(record)
        append_group(self.file, [record])


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--device", default="cuda", show_default=True, help="cuda, cuda:N, or cpu to try it.")
@click.option("--model", "models", multiple=True, type=click.Choice(MODELS), help="May repeat.")
@click.option("--precision", "precisions", multiple=True, type=click.Choice(PRECISIONS))
@click.option("--size", "sizes", multiple=True, help="Of the input, HEIGHTxWIDTH; may repeat.")
@click.option("--fidelity/--no-fidelity", default=True, help="Check results before timing.")
@click.option("--compiled/--no-compiled", default=True, help="Last, beside torch.compile.")
@click.option("--checkpoints", type=FOLDER, default=ROOT.parent / "shared" / "checkpoints")
@click.option("--cache", type=FOLDER, default=ROOT / "benchmarks" / "cache", help="For bundles.")
@click.option("--out", type=FOLDER, default=ROOT / "benchmarks" / "results", help="Folder.")
@click.option("--budget-s", type=float, default=500.0, show_default=True, help="Of the whole run.")
@click.option("--quick", is_flag=True, help="Tiny: does it all run?")
@command_errors
def main(
    device: str,
    models: Sequence[str],
    precisions: Sequence[str],
    sizes: Sequence[str],
    fidelity: bool,
    compiled: bool,
    checkpoints: Path,
    cache: Path,
    out: Path,
    budget_s: float,
    quick: bool,
) -> None:
    """Check every path on the GPU against stored results of PyTorch, then measure it beside the
    plain network and the published form.

    Exit status 1: a path of ours is wrong or failed; 3: there is no GPU.
    """
    deadline = time.monotonic() + budget_s
    models = models or (QUICK_MODELS if quick else MODELS)
    precisions = precisions or PRECISIONS
    inputs = [parse_size(size) for size in sizes] or (QUICK_SIZES if quick else SIZES)
    supervisor = _supervisor(device, quick, deadline)
    try:
        machine = supervisor.open()
        journal = _journal(out, machine, quick)
        supervisor.keep = journal.keep
        timeout_s = max(1.0, EXPORT_SHARE * (deadline - time.monotonic()))
        exported = export_models(models, precisions, checkpoints, cache, timeout_s, _say)
        for model, found in exported.items():
            journal.keep({"kind": "networks", "model": model} | asdict(found))
        sections = make_sections(models, precisions, inputs, fidelity, compiled)
        ready = [
            one for one in sections if not one.model or _has(exported[one.model], one.precision)
        ]
        files = {model: found.files for model, found in exported.items() if found.files}
        supervisor.run(ready, files)
    finally:
        supervisor.close()
    _finish(journal, supervisor.dropped)


def _supervisor(device: str, quick: bool, deadline: float) -> Supervisor:
    environment = {"TRITON_INTERPRET": "1"} if device == "cpu" else {}
    return Supervisor(
        keep=lambda record: None,
        say=_say,
        start={"device": device, "quick": quick},
        connect=lambda start: Link(start, environment=environment),
        deadline=deadline,
    )


def _journal(out: Path, machine: dict[str, Any], quick: bool) -> Journal:
    out.mkdir(parents=True, exist_ok=True)
    device = re.sub(r"[^a-z0-9]+", "-", machine["device"].lower()).strip("-") or "device"
    name = f"gpu-{device}{'-quick' if quick else ''}"
    journal = Journal(out / f"{name}.jsonl", datetime.now(UTC).isoformat(timespec="seconds"))
    journal.keep({"kind": "run", "machine": machine, "quick": quick})
    return journal


def _has(exported: ExportedModel, precision: str) -> bool:
    return exported.files is not None and precision in exported.precisions


def _finish(journal: Journal, dropped: Sequence[str]) -> None:
    """Prints the report, keeps it beside the records, and ends with the exit status."""
    report = write_summary(journal.records, dropped)
    file = journal.file.with_suffix(".md")
    with atomic_file(file, overwrite=True) as temporary:
        temporary.write_text(f"{report}\n{write_details(journal.records)}", encoding="utf-8")
    click.echo(report)
    _say(f"records: {journal.file}, report: {file}")
    wrong = faults(journal.records)
    for fault in wrong:
        complain(PcsrError(fault))
    sys.stdout.flush()
    sys.exit(1 if wrong else 0)


def _say(text: str) -> None:
    click.echo(text, err=True)


if __name__ == "__main__":
    main()
