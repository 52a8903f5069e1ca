"""Starts the process of the soak and judges what it holds."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

MOST_GROWTH_MIB = 8.0  # 5 KiB kept per call would be 10 between the last quarters of 8,000 calls
# glibc gives threads up to 8 arenas per core, which grow one after the other to what any thread has
# needed: 20 MiB more here, over thousands of calls, which hides what is lost.
ARENAS = {"MALLOC_ARENA_MAX": "2"}
MOST_KEPT = 1.5  # times what is kept to be used again after the first calls
WARM_UP = 0.5  # of the calls: memory grows to what the calls need that overlap


class Soak(NamedTuple):
    """What a run found: one record after each twentieth of its calls."""

    records: list[dict[str, Any]]
    ended: Counter[str]

    @property
    def growth_mib(self) -> float:
        """The least resident memory of the last quarter, less that of the one after warming up."""
        mib = [float(record["resident_mib"]) for record in self.records]
        first, quarter = round(WARM_UP * len(mib)), len(mib) // 4
        return min(mib[-quarter:]) - min(mib[first : first + quarter])

    def faults(self) -> list[str]:
        """Lists what does not stay flat."""
        found = []
        if self.growth_mib > MOST_GROWTH_MIB:
            found.append(f"memory grew by {self.growth_mib:.1f} MiB")
        kept = [record["kept_mib"] for record in self.records]
        if max(kept) > MOST_KEPT * kept[0]:
            found.append(f"memory that is used again grew from {kept[0]} to {max(kept)} MiB")
        for name in ("threads", "tasks", "files"):
            counts = [record[name] for record in self.records]
            if len({*counts[len(counts) // 4 :]}) > 1:
                found.append(f"the number of {name} changes: {counts}")
        return found


def soak(
    bundle: Path,
    backend: str,
    calls: int,
    threads: int = 3,
    seen: Callable[[dict[str, Any]], None] = lambda _: None,
) -> Soak:
    """Makes so many calls in a process of their own, from several threads at once. `seen` is given
    each record. Raises RuntimeError where the process fails.
    """
    arguments = [str(bundle), backend, str(calls), str(threads)]
    command = [sys.executable, "-m", "tests.soak.process", *arguments]
    records, ended = [], Counter[str]()
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        env=os.environ | ARENAS,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            records.append(json.loads(line))
            ended.update(records[-1].pop("ended"))
            seen(records[-1])
    if process.returncode:
        raise RuntimeError(f"the process of the soak ended with {process.returncode}")
    return Soak(records, ended)
