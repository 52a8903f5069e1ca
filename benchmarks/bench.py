"""make bench: what the runtime gains over the plain network and over the published form."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from pcsr import text
from pcsr.cli import command_errors, complain
from pcsr.errors import PcsrError, UsageError

from .contenders import SCALE, other_libraries
from .cpu.report import faults, format_group
from .environment import ROOT, pin
from .records import Record, append_group, complete_group, read_records

if TYPE_CHECKING:
    from .cpu.group import Group

Size = tuple[int, int]

NAMED: dict[str, Size] = {
    "1680x1104": (1104, 1680),
    "1080p": (1080, 1920),
    "4k": (2160, 3840),
    "8k": (4320, 7680),
}
TINY = ("288x192", "308x212")
MODELS = ("fsrcnn", "carn", "srresnet")
FOLDER = click.Path(path_type=Path, file_okay=False)
CHECKPOINTS = ROOT.parent / "shared" / "checkpoints"
CACHE, RESULTS = ROOT / "benchmarks" / "cache", ROOT / "benchmarks" / "results"
SHORT_ROUNDS = 2
LOWER = ("bf16", "int8")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--model", "models", multiple=True, type=click.Choice(MODELS), help="May repeat.")
@click.option(
    "--size", "sizes", multiple=True, help=f"{', '.join(NAMED)} or WIDTHxHEIGHT; may repeat."
)
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
@click.option("--threads", type=click.IntRange(1), default=2, show_default=True)
@click.option(
    "--max-seconds", type=float, default=60.0, show_default=True, help="Slower ones: fewer rounds."
)
@click.option("--eager/--no-eager", default=True, help="With the forms in PyTorch, or without.")
@click.option(
    "--precision",
    "lower",
    multiple=True,
    type=click.Choice(LOWER),
    help="Ours and OpenVINO's in this, too; may repeat. int8 is calibrated first (minutes).",
)
@click.option("--others/--no-others", default=True, help="With OpenVINO and SPAN, or without.")
@click.option(
    "--image", type=click.Path(path_type=Path, dir_okay=False), help="Instead of samples."
)
@click.option("--checkpoints", type=FOLDER, default=CHECKPOINTS)
@click.option("--output", type=FOLDER, default=RESULTS, help="Folder.")
@click.option("--cache", type=FOLDER, default=CACHE, help="For bundles.")
@click.option("--again", is_flag=True, help="Measure what the results already hold, too.")
@click.option("--short", is_flag=True, help="FSRCNN, tiny images, 2 rounds: does it all run?")
@command_errors
def main(threads: int, output: Path, again: bool, short: bool, **choices: Any) -> None:  # noqa: ANN401
    """Time this runtime, the published form and the plain network, interleaved.

    Goes on where an interrupted run ended. Exit status 1: one of our contenders failed, or its
    image is not that of the published form.
    """
    pin(threads)
    if short:
        choices |= {"rounds": SHORT_ROUNDS}
        choices["models"] = choices["models"] or MODELS[:1]
        choices["sizes"] = choices["sizes"] or TINY
    output.mkdir(parents=True, exist_ok=True)
    file = output / ("short.jsonl" if short else "bench.jsonl")
    wrong: list[str] = []
    for group in _groups(threads, **choices):
        records = _measured(group, file, again or short)
        click.echo(format_group(records))
        wrong += faults(records, must_compare=short)
    say(f"records: {file}")
    end(wrong)


def parse_size(name: str) -> Size:
    """Parses (height, width) of the large image, given by name or as WIDTHxHEIGHT.

    Raises:
        UsageError: neither a known name nor WIDTHxHEIGHT, multiples of the scale.
    """
    if name.lower() in NAMED:
        return NAMED[name.lower()]
    with suppress(UsageError):
        height, width = text.parse_size(name)
        if height % SCALE == 0 == width % SCALE:
            return height, width
    raise UsageError(
        f"unknown size {name!r}; expected {', '.join(NAMED)} or WIDTHxHEIGHT, "
        f"both multiples of {SCALE}"
    )


def _groups(threads: int, **choices: Any) -> Iterator["Group"]:  # noqa: ANN401
    """Yields small sizes first: the long ones come when the rest is known."""
    from pcsr.runtime.profiler.pictures import photos

    from .cpu.group import BenchOptions, Group
    from .image import sample_image
    from .networks import find_networks, find_span

    names = choices["sizes"] or tuple(NAMED)
    sizes = {name: parse_size(name) for name in names}
    models = choices["models"] or MODELS
    precisions = ("fp32", *dict.fromkeys(choices["lower"]))
    others = tuple(other_libraries()) if choices["others"] else ()
    paced = (choices["rounds"], threads, choices["max_seconds"], choices["eager"])
    options = BenchOptions(*paced, precisions, others)
    networks = {
        model: find_networks(model, choices["checkpoints"], choices["cache"], say, precisions)
        for model in models
    }
    if "span" in others:
        span = str(find_span(choices["cache"], say))
        networks = {
            model: replace(found, files=replace(found.files, span_bundle=span))
            for model, found in networks.items()
        }
    for name, (height, width) in sizes.items():
        small = (height // SCALE, width // SCALE)
        file = choices["image"]
        image = sample_image(small) if file is None else photos([file], [small])[0].pixels
        for model in models:
            yield Group(model, name, networks[model], image, options)


def _measured(group: "Group", file: Path, again: bool) -> list[Record]:
    from .cpu.group import measure_group

    known = None if again else complete_group(read_records(file), group.key)
    if known is not None:
        say(f"{group.model} {group.size}: in {file.name} already (--again measures it again)")
        return known
    records = measure_group(group, lambda text: say(f"{group.model} {group.size}: {text} …"))
    append_group(file, records)
    return records


def say(text: str) -> None:
    """Prints a line of progress."""
    click.echo(text, err=True)


def end(faults: Sequence[str]) -> NoReturn:
    """Prints what is wrong, and ends with the exit status."""
    for fault in faults:
        complain(PcsrError(fault))
    sys.stdout.flush()
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
