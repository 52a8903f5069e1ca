"""The child process: runs cases one after another, and prints a line before and after each.

python -m tests.fuzz.worker FORMAT ORIGINALS FIRST LAST [SANITIZED_LIBRARY]
"""

import os
import random
import resource
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

MOST_BYTES = 2 * 2**30
"""That a case may take above what the process had before it."""


def main(name: str, originals: str, first: str, last: str, library: str = "") -> None:
    """Runs the cases from `first` up to `last`."""
    sets: Sequence[Callable[[], None]] = ()
    if library:
        from . import sanitized

        sets = sanitized.install(Path(library))
    from pcsr.errors import PcsrError

    from .formats import BY_NAME

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    devnull = os.open(os.devnull, os.O_WRONLY)
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(devnull, 1)  # what libraries print
    form = BY_NAME[name]
    for number in range(int(first), int(last)):
        print(f"begin {number}", file=out)
        rng = random.Random(f"{name} {number}")
        if sets:
            sets[number % len(sets)]()
        folder = Path(tempfile.mkdtemp(prefix="pcsr-fuzz-"))
        try:
            (folder / "number").write_text(str(number))
            form.make(Path(originals), folder, rng)
            before = _forget_peak()
            outcome = "ran"
            try:
                form.use(folder, rng)
            except PcsrError as error:
                outcome = "refused" if _is_one_line(str(error)) else f"wrong text {str(error)!r}"
            except Exception as error:
                outcome = f"wrong {type(error).__name__}: {error}"
            grown = _peak() - before
            if grown > MOST_BYTES:
                outcome = f"wrong memory {grown / 2**30:.1f} GiB ({outcome})"
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        print(f"end {number} {' '.join(outcome.split())[:300]}", file=out)


def _is_one_line(text: str) -> bool:
    return "\n" not in text and 0 < len(text) < 1000


def _forget_peak() -> int:
    Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("the system does not say how much memory this process took")


if __name__ == "__main__":
    main(*sys.argv[1:])
