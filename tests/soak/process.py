"""The process of the soak: `python -m tests.soak.process BUNDLE BACKEND CALLS THREADS` prints a
line of JSON for each part of the calls, with what it holds after them.
"""

import gc
import json
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from pcsr import Upscaler
from pcsr.runtime.machine import resident_mib
from pcsr.runtime.process.memory import ReusedMemory
from tests.memory import settled_mib

from . import calls

PARTS = 20
LARGEST = np.zeros((calls.LARGEST_PX, calls.LARGEST_PX, 4), np.uint8)
PROBE = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)


def main(bundle: Path, backend: str, count: int, threads: int) -> None:
    upscaler = Upscaler(bundle, backend=backend, threads=2)
    expected = upscaler(PROBE, adaptive=True).image
    warm_up(upscaler, threads)
    step = count // PARTS
    for part in range(PARTS):
        numbers = [
            range(part * step + 1 + thread, (part + 1) * step + 1, threads)
            for thread in range(threads)
        ]
        with ThreadPoolExecutor(threads) as pool:
            found = pool.map(lambda some: calls.make_some(some, upscaler, bundle), numbers)
            ended: Counter[str] = sum(found, Counter())
        if not np.array_equal(upscaler(PROBE, adaptive=True).image, expected):
            raise SystemExit("the same call gives another image")
        record = {"calls": (part + 1) * step, **held(), "ended": ended}
        sys.stdout.write(json.dumps(record) + "\n")
        sys.stdout.flush()


def warm_up(upscaler: Upscaler, threads: int) -> None:
    """Lets each thread make the largest calls: what was taken for one is kept for the next."""
    LARGEST[0, 0, 3] = 1  # so that alpha is upscaled, too
    with ThreadPoolExecutor(threads) as pool:
        for way in calls.WAYS:
            list(pool.map(lambda _: upscaler(LARGEST, 4, **way), range(3 * threads)))  # noqa: B023


def held() -> dict[str, Any]:
    """Says what this process holds. `resident_mib` is what `settled_mib` says without what is kept
    to be used again, `kept_mib`: that grows to what the calls need that overlap at most.
    """
    gc.collect()
    pools = [found for found in gc.get_objects() if isinstance(found, ReusedMemory)]
    kept_mib = sum(pool.kept_bytes for pool in pools) / 2**20
    untrimmed = resident_mib()
    return {
        "resident_mib": round(settled_mib() - kept_mib, 1),
        "kept_mib": round(kept_mib, 1),
        "untrimmed_mib": round(untrimmed or 0, 1),
        "threads": threading.active_count(),
        "tasks": len(list(Path("/proc/self/task").iterdir())),
        "files": len(list(Path("/proc/self/fd").iterdir())),
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
