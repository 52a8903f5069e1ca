"""One call of one contender in a process of its own: job on stdin, figures on stdout, both JSON."""

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from pcsr.runtime.machine import peak_resident_mib, resident_mib

from .engines import Files, make_engine
from .lineup import EngineName, Options

FIRST_TO_GO = "1000"  # the largest oom_score_adj


@dataclass(frozen=True)
class Job:
    """What to run. image: file of the array, [h, w, 3] uint8."""

    engine: EngineName
    options: Options
    files: Files
    image: str
    threads: int


@dataclass(frozen=True)
class Footprint:
    """Memory and time of a first call. loaded_mib: resident before the call, all imported and the
    network read; peak_mib: the most since the program's start. None where the system does not say.
    threshold: as of `Output`.
    """

    loaded_mib: float | None
    peak_mib: float | None
    first_call_ms: float
    threshold: float | None = None


def run(job: Job) -> Footprint:
    """Makes the engine and calls it once."""
    image = np.load(job.image)
    engine = make_engine(job.engine, job.files, job.threads)
    loaded_mib = resident_mib()
    output = engine(image, job.options)
    return Footprint(loaded_mib, peak_resident_mib(), output.total_ms, output.threshold)


def main() -> None:
    """Prints the footprint, or {"error": …}: what an engine raises is a result here."""
    _be_killed_first()
    values = json.load(sys.stdin)
    job = Job(**{**values, "files": Files(**values["files"])})
    try:
        answer = asdict(run(job))
    except Exception as error:
        answer = {"error": f"{type(error).__name__}: {error}"}
    sys.stdout.write(json.dumps(answer) + "\n")


def _be_killed_first() -> None:
    """Where memory runs out, this process goes and not the one that reports it."""
    score = Path("/proc/self/oom_score_adj")
    if score.exists():
        score.write_text(FIRST_TO_GO)


if __name__ == "__main__":
    main()
