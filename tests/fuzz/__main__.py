"""The long run (`make fuzz`): prints how many cases were tried, refused, ran and failed."""

import sys
import tempfile
from pathlib import Path

import click
from tabulate import tabulate

from . import originals, sanitized, supervisor
from .formats import BY_NAME, FORMATS

NAMES = [form.name for form in FORMATS]


@click.command()
@click.option("--cases", default=2000, show_default=True, help="How many of each format.")
@click.option("--first", default=10**6, show_default=True, help="The number of the first case.")
@click.option("--format", "formats", multiple=True, type=click.Choice(NAMES))
@click.option("--sanitize/--no-sanitize", default=True, show_default=True)
def main(cases: int, first: int, formats: tuple[str, ...], sanitize: bool) -> None:
    """Mutate bundles, checkpoints, configs and images, and use each in a child process.

    With --sanitize the compiled passes are built with AddressSanitizer and
    UndefinedBehaviorSanitizer (gcc) for AVX-512, AVX2 and generic processors; cases take turns.
    """
    rows, failed = [], False
    with tempfile.TemporaryDirectory() as folder:
        files = originals.write(Path(folder) / "originals")
        library = sanitized.build(Path(folder)) if sanitize else None
        for name in formats or NAMES:
            used = library if BY_NAME[name].computes else None
            tally = supervisor.run(name, files, range(first, first + cases), used)
            counts = (tally.counts[kind] for kind in ("refused", "ran", "failed"))
            rows.append((name, cases, *counts, "yes" if used else "no"))
            for number, why in tally.failures.items():
                click.echo(f"{name} {number}: {why}")
            failed |= bool(tally.failures)
    headers = ("format", "tried", "refused", "ran", "failed", "sanitized")
    click.echo(tabulate(rows, headers))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
