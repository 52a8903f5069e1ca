"""Measures what a call costs beside its computing: calls of an `Upscaler` against their bare parts,
the backbone's graph in ONNX Runtime and each compiled pass once, in turn.

    python -m benchmarks.small_calls BUNDLE [--size 64x64] [--threads 1] [--rounds 300]

It prints one JSON line: milliseconds of a call and of its bare parts (medians and minima), and the
median of their differences in microseconds, of wall time and of the process's CPU time, which does
not count what other processes take from a busy machine.
"""

import argparse
import json
from collections.abc import Sequence

from .measured import report


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description="Measures what a call costs beside its computing.")
    parser.add_argument("bundle")
    parser.add_argument("--size", default="64x64", help="height x width in input pixels")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=300)
    given = parser.parse_args(arguments)
    height, width = map(int, given.size.split("x"))
    print(json.dumps(report(given.bundle, (height, width), given.threads, given.rounds)))  # noqa: T201


if __name__ == "__main__":
    main()
