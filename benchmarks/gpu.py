"""make gpu: is every path on this GPU right, and how fast is it?"""

import re
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click

from pcsr.atomic import atomic_file
from pcsr.cli import NumberRange, command_errors
from pcsr.text import parse_size

from .bench import CACHE, CHECKPOINTS, FOLDER, RESULTS, end, say
from .callers import Files
from .device.exporting import export_models
from .device.report import write_details, write_summary
from .device.sections import (
    MODELS,
    PRECISIONS,
    QUICK_SIZES,
    SIZES,
    Section,
    make_sections,
    parse_section,
)
from .device.summary import faults
from .device.supervisor import Supervisor
from .device.test_run import TestRun
from .pack import contents as packed
from .records import Log, Record, append_group, finite

TESTS_S = 150.0  # of the tests, at most
EXPORT_SHARE = 0.5  # of the budget, at most
QUICK_MODELS = ("fsrcnn",)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--device", default="cuda", show_default=True, help="cuda, cuda:N, or cpu to try it.")
@click.option("--model", "models", multiple=True, type=click.Choice(MODELS), help="May repeat.")
@click.option("--precision", "precisions", multiple=True, type=click.Choice(PRECISIONS))
@click.option("--size", "sizes", multiple=True, help="Of the input, WIDTHxHEIGHT; may repeat.")
@click.option("--fidelity/--no-fidelity", default=True, help="Check results before timing.")
@click.option("--compiled/--no-compiled", default=True, help="Last, beside torch.compile.")
@click.option(
    "--section", "named", multiple=True, help="Only these, as progress names them; may repeat."
)
@click.option("--pack", type=FOLDER, help="From `make gpu-pack`: checkpoints and bundles.")
@click.option("--checkpoints", type=FOLDER)
@click.option("--cache", type=FOLDER, help="For bundles.")
@click.option("--out", type=FOLDER, default=RESULTS, help="Folder.")
@click.option(
    "--budget-s",
    type=NumberRange(1, 86400),
    default=500.0,
    show_default=True,
    help="Of the whole run.",
)
@click.option("--all", "whole", is_flag=True, help="Every way in every mode, not the short list.")
@click.option("--tests", is_flag=True, help="Run the tests that need a GPU, too.")
@click.option("--quick", is_flag=True, help="Tiny: does it all run?")
@command_errors
def main(
    device: str,
    models: Sequence[str],
    precisions: Sequence[str],
    sizes: Sequence[str],
    fidelity: bool,
    compiled: bool,
    named: Sequence[str],
    pack: Path | None,
    checkpoints: Path | None,
    cache: Path | None,
    out: Path,
    budget_s: float,
    whole: bool,
    tests: bool,
    quick: bool,
) -> None:
    """Check every path on the GPU against stored results of PyTorch, then measure it beside the
    plain network and the published form.

    Exit status 1: a path of ours is wrong or failed; 3: there is no GPU.
    """
    deadline = time.monotonic() + budget_s
    wanted = [parse_section(name) for name in named]
    tree = packed.tree_of(pack) if pack else {}
    checkpoints = checkpoints or (pack / packed.CHECKPOINTS if pack else CHECKPOINTS)
    cache = cache or (pack / packed.BUNDLES if pack else CACHE)
    if wanted:
        models = [*dict.fromkeys(one.model for one in wanted if one.model)]
        precisions = [*dict.fromkeys(one.precision for one in wanted if one.precision)]
    models = models or (QUICK_MODELS if quick else MODELS)
    precisions = precisions or PRECISIONS
    inputs = [parse_size(size) for size in sizes] or (QUICK_SIZES if quick else SIZES)
    lines: list[str] = []
    start = {"device": device, "quick": quick, "whole": whole}
    supervisor = Supervisor(say, lines.append, start, deadline)
    records: list[Record] = []
    date = datetime.now(UTC).isoformat(timespec="seconds")
    running: TestRun | None = None
    try:
        machine = supervisor.open() | tree
        out.mkdir(parents=True, exist_ok=True)
        name = re.sub(r"[^a-z0-9]+", "-", machine["device"].lower()).strip("-") or "device"
        file = out / f"gpu-{name}{'-quick' if quick else ''}.jsonl"
        supervisor.log = Log(file.with_suffix(".log"), date).add
        for line in lines:
            supervisor.log(line)
        if tests:
            running = TestRun.start(TESTS_S)

        def keep(record: Record) -> None:
            records.append(finite({"run": date, "model": "", "precision": ""} | record))
            append_group(file, records[-1:])

        keep({"kind": "run", "machine": machine, "quick": quick})
        timeout_s = max(1.0, EXPORT_SHARE * (deadline - time.monotonic()))
        exported = export_models(models, precisions, checkpoints, cache, timeout_s, say)
        for model, found in exported.items():
            keep({"kind": "networks", "model": model} | found)
        sections = [
            section
            for section in (wanted or make_sections(models, precisions, inputs, fidelity, compiled))
            if not section.model or section.precision in exported[section.model]["precisions"]
        ]
        files = {
            model: Files(**found["files"]) for model, found in exported.items() if found["files"]
        }

        def before(section: Section) -> None:
            nonlocal running
            if running is not None and section.kind not in ("ceilings", "fidelity"):
                keep(running.record(supervisor.log))
                running = None

        supervisor.run(sections, files, keep, before)
        if running is not None:
            keep(running.record(supervisor.log))
    finally:
        supervisor.close()
        if running is not None:
            running.kill()
    _finish(records, file, supervisor.dropped)


def _finish(records: Sequence[Record], file: Path, dropped: Sequence[str]) -> None:
    """Prints the report, keeps it beside the records, and ends with the exit status."""
    report, written = write_summary(records, dropped), file.with_suffix(".md")
    with atomic_file(written, overwrite=True) as temporary:
        temporary.write_text(f"{report}\n{write_details(records)}", encoding="utf-8")
    click.echo(report)
    say(f"records: {file}, report: {written}")
    end(faults(records))


if __name__ == "__main__":
    main()
