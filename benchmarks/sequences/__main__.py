"""Measures what a frame of a sequence takes where a part of it changes, as a share of what the same
frame takes alone, in turn.

    python -m benchmarks.sequences BUNDLE [--size 540x960] [--threads 2] [--rounds 5]

It prints a table for each way to route, of the least wall time, and of the least CPU time of the
process, which does not count what other processes take from a busy machine.
"""

import argparse
from collections.abc import Sequence

from tabulate import tabulate

from .measured import MODES, measured


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description="Measures what frames take that change in part.")
    parser.add_argument("bundle")
    parser.add_argument("--size", default="540x960", help="height x width in input pixels")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args(arguments)
    height, width = map(int, given.size.split("x"))
    heads = ["changed", "alone, ms", "in a sequence, ms", "share", "share of CPU time", "reused"]
    for name, options in MODES.items():
        rows = measured(given.bundle, (height, width), given.threads, given.rounds, options)
        print(f"{given.bundle}, {given.size}, {name}")  # noqa: T201
        print(tabulate(rows, heads, "github", disable_numparse=True))  # noqa: T201


if __name__ == "__main__":
    main()
