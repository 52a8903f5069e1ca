"""The first use of a bundle on the CPU, in a process of its own: opening it, one call, and the
memory of a process that does nothing else. Job on stdin, figures on stdout, both JSON.
"""

import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from pcsr.errors import ImageError
from pcsr.runtime.machine import peak_resident_mib
from pcsr.text import one_line

if TYPE_CHECKING:
    from .cases import Spec


@dataclass(frozen=True)
class FirstUse:
    """open_ms: None where somebody else opened the bundle. peak_mib: None where nobody says."""

    first_ms: float
    peak_mib: float | None
    open_ms: float | None = None


def first_use(spec: "Spec") -> FirstUse:
    """Of a case.

    Raises:
        ImageError: the process failed, most likely for want of memory.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "image.npy"
        np.save(file, spec.picture.pixels)
        job = {"engine": asdict(spec.engine), "options": dict(spec.options), "image": str(file)}
        done = subprocess.run(
            [sys.executable, "-m", __name__],
            input=json.dumps(job),
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["killed, most likely out of memory"])[-1]
        raise ImageError(f"{spec.name}: a call in a process of its own failed: {one_line(last)}")
    return FirstUse(**json.loads(done.stdout))


def _main() -> None:
    job = json.load(sys.stdin)
    image = np.load(job["image"])
    start = perf_counter()
    from .callers import open_upscaler
    from .cases import Engine

    upscaler = open_upscaler(Engine(**job["engine"]))
    opened = perf_counter()
    upscaler(image, **job["options"])
    done = perf_counter()
    found = FirstUse(1000 * (done - opened), peak_resident_mib(), 1000 * (opened - start))
    sys.stdout.write(json.dumps(asdict(found)) + "\n")


if __name__ == "__main__":
    _main()
