"""Does the jobs, in a process of its own: a kernel that crashes the device ends it, not the run.

Jobs come as JSON lines on stdin; what happens is told as JSON lines on what was stdout:
{"step": name} before each step that could be the last, {"record": …}, {"done": true}.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TextIO

import numpy as np
import torch

from benchmarks.engines import Files
from benchmarks.memory import reason
from benchmarks.records import Record
from pcsr.runtime.profiler import device_ceilings as ceilings
from pcsr.runtime.profiler.device_clock import make_clock

from . import paths, rounds
from .contenders import Contender, Installed, compiled_line_up, line_up
from .jobs import Job
from .machine import describe_device
from .measure import measure, views

BROKEN = 70  # exit status: the device takes no more work


class Avoided(Exception):
    """This step ended the process before."""


@dataclass
class Worker:
    """One process's share of the jobs. tell: sends one message to who gave them."""

    device: torch.device
    quick: bool
    tell: Callable[[dict[str, Any]], None]
    avoid: frozenset[str] = frozenset()
    job: Job = field(default=Job("ceilings"))

    def run(self, job: Job, files: Files | None, limit_s: float) -> None:
        """Does a job; all that it finds is told."""
        self.job = job
        for record in self._records(job, files, limit_s):
            facts = {"kind": job.kind, "model": job.model, "precision": job.precision}
            self.tell({"record": facts | record})

    def guard(self, name: str, step: Callable[[], Any]) -> Any:  # noqa: ANN401
        """Runs a step; where the device is broken behind it, the process ends."""
        key = f"{self.job.name}: {name}"
        if key in self.avoid or name in self.avoid:
            raise Avoided("it ended the process, which went on without it")
        self.tell({"step": key})
        try:
            result = step()
            if self.device.type == "cuda":
                torch.cuda.synchronize()
        except Exception as error:  # whatever it is, it may have broken the device
            self._end_if_broken(error)
            raise
        return result

    def _records(self, job: Job, files: Files | None, limit_s: float) -> Iterator[Record]:
        if job.kind == "ceilings":
            yield self.guard("ceilings", self._ceilings)
            return
        assert files is not None
        if job.kind == "fidelity":
            depth = paths.QUICK if self.quick else paths.FULL
            setting = (self.device, self._installed, self.guard, depth)
            yield from paths.check_model(files, job.precision, *setting)
            return
        image, source = _image(job.size)
        contenders = self._contenders(job)
        found = measure(
            contenders,
            files,
            job.precision,
            views(image),
            self.device,
            make_clock(self.device),
            self.guard,
            rounds.QUICK if self.quick else rounds.ON_GPU,
            limit_s,
        )
        for record in found:
            yield {"image": source} | record

    def _ceilings(self) -> Record:
        extent = ceilings.QUICK if self.quick else ceilings.ON_GPU
        found = ceilings.measure_ceilings(self.device, make_clock(self.device), extent)
        return dict(found)

    def _contenders(self, job: Job) -> list[Contender]:
        return compiled_line_up() if job.kind == "compiled" else line_up(self._installed)

    @cached_property
    def _installed(self) -> Installed:
        return Installed.here() if self.device.type == "cuda" else Installed()

    def _end_if_broken(self, error: Exception) -> None:
        if self.device.type != "cuda":
            return
        try:
            torch.cuda.synchronize()
        except Exception:
            self.tell({"broken": reason(f"{type(error).__name__}: {error}")})
            os._exit(BROKEN)


def _image(size: tuple[int, int]) -> tuple[rounds.Image, str]:
    """An image of this size, and what is on it: without its photos, a drawn one."""
    try:
        from benchmarks.photo import sample_image

        return sample_image(size), "photos"
    except Exception as error:
        from pcsr.export.verification.synthetic_images import synthetic_image

        drawn = np.rint(synthetic_image(size) * 255).astype(np.uint8)
        return drawn, f"drawn, for there are no photos: {reason(str(error))}"


def main() -> None:
    """Says what the device is, then does jobs until stdin ends."""
    messages = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no message
    start = json.loads(sys.stdin.readline())
    if os.environ.get("TRITON_INTERPRET") == "1":
        from tests.runtime.kernels.interpreter import repair

        repair()
    worker = _begin(start, messages)
    for line in sys.stdin:
        order = json.loads(line)
        files = Files(**order["files"]) if order["files"] else None
        job = Job.from_json(order["job"])
        try:
            worker.run(job, files, order["limit_s"])
        except Exception as error:  # of a whole job: its record
            facts = {"kind": job.kind, "model": job.model, "precision": job.precision}
            why = reason(f"{type(error).__name__}: {error}")
            worker.tell({"record": facts | {"error": why, "ours": True}})
        worker.tell({"done": True})


def _begin(start: dict[str, Any], messages: TextIO) -> Worker:
    def tell(message: dict[str, Any]) -> None:
        messages.write(json.dumps(message) + "\n")
        messages.flush()

    from pcsr.errors import PcsrError
    from pcsr.runtime.devices import torch_device

    try:
        device = torch_device(start["device"])
        tell({"machine": describe_device(device)})
    except PcsrError as error:
        tell({"absent": str(error)})
        sys.exit(error.exit_code)
    return Worker(device, start["quick"], tell, frozenset(start["avoid"]))


if __name__ == "__main__":
    main()
