"""Works on sections, in its own process: a kernel that crashes the device ends it, not the run.

Sections come as JSON lines on stdin; what happens is told as JSON lines on what was stdout:
{"step": name} before each step that could be the last, {"record": …}, {"done": true}.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TextIO

import numpy as np
import torch

from benchmarks.callers import Files
from benchmarks.contenders import (
    Contender,
    compiled_line_up,
    device_line_up,
    installed_backends,
)
from benchmarks.environment import describe_device
from benchmarks.image import Image, Size
from benchmarks.records import Record
from pcsr.errors import PcsrError
from pcsr.runtime.devices import torch_device
from pcsr.runtime.profiler.measuring import device_ceilings as ceilings
from pcsr.runtime.profiler.measuring.device import make_clock
from pcsr.runtime.profiler.measuring.rounds import reason

from . import paths
from .measure import ON_GPU, QUICK, DeviceSetting, measure, views
from .sections import Section

BROKEN = 70  # exit status: the device takes no more work


class Avoided(Exception):
    """Says that this step ended the process before."""


@dataclass
class Worker:
    """Does one process's share of a run. tell: sends one message to who gave it."""

    device: torch.device
    quick: bool
    tell: Callable[[dict[str, Any]], None]
    avoid: frozenset[str] = frozenset()
    section: Section = field(default=Section("ceilings"))

    def run(self, section: Section, files: Files | None, limit_s: float) -> None:
        """Does a section; all that it finds is told."""
        self.section = section
        for record in self._records(section, files, limit_s):
            self.tell({"record": _facts(section) | record})

    def guard(self, name: str, step: Callable[[], Any]) -> Any:  # noqa: ANN401
        """Runs a step; where the device is broken behind it, the process ends."""
        key = f"{self.section.name}: {name}"
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

    def _records(self, section: Section, files: Files | None, limit_s: float) -> Iterator[Record]:
        if section.kind == "ceilings":
            yield self.guard("ceilings", self._ceilings)
            return
        assert files is not None
        setting = DeviceSetting(files, section.precision, self.device, self.guard)
        if section.kind == "fidelity":
            depth = paths.QUICK if self.quick else paths.FULL
            yield from paths.check_model(setting, self._backends, depth)
            return
        image, source = _image(section.size)
        contenders, effort = self._contenders(section), QUICK if self.quick else ON_GPU
        for record in measure(contenders, views(image), setting, effort, limit_s):
            yield {"image": source} | record

    def _ceilings(self) -> Record:
        extent = ceilings.QUICK if self.quick else ceilings.ON_GPU
        found = ceilings.measure_ceilings(self.device, make_clock(self.device), extent)
        return dict(found)

    def _contenders(self, section: Section) -> list[Contender]:
        is_compiled = section.kind == "compiled"
        return compiled_line_up() if is_compiled else device_line_up(self._backends)

    @cached_property
    def _backends(self) -> Sequence[str]:
        return installed_backends() if self.device.type == "cuda" else ()

    def _end_if_broken(self, error: Exception) -> None:
        if self.device.type != "cuda":
            return
        try:
            torch.cuda.synchronize()
        except Exception:
            self.tell({"broken": reason(error)})
            os._exit(BROKEN)


def _facts(section: Section) -> Record:
    return {"kind": section.kind, "model": section.model, "precision": section.precision}


def _image(size: Size) -> tuple[Image, str]:
    """Gives an image of this size, and what is on it: without its photos, a drawn one."""
    try:
        from benchmarks.image import sample_image

        return sample_image(size), "photos"
    except Exception as error:
        from pcsr.export.verification.synthetic_images import synthetic_image

        drawn = np.rint(synthetic_image(size) * 255).astype(np.uint8)
        return drawn, f"drawn, for there are no photos: {reason(str(error))}"


def main() -> None:
    """Says what the device is, then does sections until stdin ends."""
    messages = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no message
    start = json.loads(sys.stdin.readline())
    if os.environ.get("TRITON_INTERPRET") == "1":
        from .interpreter import repair

        repair()
    worker = _begin(start, messages)
    for line in sys.stdin:
        order = json.loads(line)
        files = Files(**order["files"]) if order["files"] else None
        section = Section.from_json(order["section"])
        try:
            worker.run(section, files, order["limit_s"])
        except Exception as error:  # of a whole section: its record
            failed = _facts(section) | {"error": reason(error), "ours": True}
            worker.tell({"record": failed})
        worker.tell({"done": True})


def _begin(start: dict[str, Any], messages: TextIO) -> Worker:
    def tell(message: dict[str, Any]) -> None:
        messages.write(json.dumps(message) + "\n")
        messages.flush()

    try:
        device = torch_device(start["device"])
        tell({"machine": describe_device(device)})
    except PcsrError as error:
        tell({"absent": str(error)})
        sys.exit(error.exit_code)
    return Worker(device, start["quick"], tell, frozenset(start["avoid"]))


if __name__ == "__main__":
    main()
