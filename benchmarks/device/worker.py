"""Works on sections, in its own process: a kernel that crashes the device ends it, not the run.

What happens is told in messages: {"step": name} before each step that could be the last,
{"record": …}, {"done": True}.
"""

import os
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import torch

from benchmarks.callers import Files
from benchmarks.contenders import (
    Contender,
    compiled_line_up,
    device_line_up,
    installed_backends,
    whole_line_up,
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
from .kernel_times import kernel_records
from .measure import ON_GPU, QUICK, DeviceSetting, measure, views
from .sections import Section

BROKEN = 70  # exit status: the device takes no more work


class Avoided(Exception):
    """Says that this step ended the process before."""


def serve(pipe: Connection, start: dict[str, Any]) -> None:
    """Says what the device is, then does sections until nobody gives any."""
    try:
        device = torch_device(start["device"])
    except PcsrError as error:
        pipe.send({"absent": str(error)})
        return
    pipe.send({"machine": describe_device(device)})
    worker = Worker(device, start["quick"], start["whole"], pipe.send, start["avoid"])
    with suppress(EOFError):
        while True:
            worker.run(*pipe.recv())


@dataclass
class Worker:
    """Does one process's share of a run. tell: sends one message to who gave it."""

    device: torch.device
    quick: bool
    whole: bool
    tell: Callable[[dict[str, Any]], None]
    avoid: frozenset[str]

    def run(self, section: Section, files: Files | None, limit_s: float) -> None:
        """Does a section; all that it finds is told."""
        try:
            for record in self._records(section, files, limit_s):
                self.tell({"record": section.facts | record})
        except Exception as error:  # of a whole section: its record
            self.tell({"trace": traceback.format_exc()})
            failed = {"error": reason(error), "ours": True}
            self.tell({"record": section.facts | failed})
        self.tell({"done": True})

    def _guard(self, section: Section, name: str, step: Callable[[], Any]) -> Any:  # noqa: ANN401
        """Runs a step; where the device is broken behind it, the process ends."""
        key = f"{section.name}: {name}"
        if key in self.avoid or name in self.avoid:
            raise Avoided("it ended the process, which went on without it")
        self.tell({"step": key})
        try:
            result = step()
            self._synchronize()
        except Exception as error:  # whatever it is, it may have broken the device
            self.tell({"trace": traceback.format_exc()})
            try:
                self._check()
            except Exception:
                self.tell({"broken": reason(error)})
                os._exit(BROKEN)
            raise
        return result

    def _synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def _check(self) -> None:
        """Raises where the device, or PyTorch's allocator, takes no more work."""
        self._synchronize()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.randn(8, device=self.device)
            self._synchronize()

    def _records(self, section: Section, files: Files | None, limit_s: float) -> Iterator[Record]:
        guard = partial(self._guard, section)
        if section.kind == "ceilings":
            extent = ceilings.QUICK if self.quick else ceilings.ON_GPU
            clock = make_clock(self.device)
            yield guard("ceilings", lambda: ceilings.measure_ceilings(self.device, clock, extent))
            return
        assert files is not None
        setting = DeviceSetting(files, section.precision, self.device, guard)
        if section.kind == "fidelity":
            depth = paths.QUICK if self.quick else paths.FULL
            yield from paths.check_model(setting, self._backends, depth)
            return
        image, source = _image(section.size)
        if section.kind == "kernels":
            yield from kernel_records(setting, image, self.quick)
            return
        contenders = self._contenders(section)
        effort = QUICK if self.quick else ON_GPU
        for record in measure(contenders, views(image), setting, effort, limit_s):
            yield {"image": source} | record

    def _contenders(self, section: Section) -> Sequence[Contender]:
        if section.kind == "compiled":
            return compiled_line_up()
        return (whole_line_up if self.whole else device_line_up)(self._backends)

    @cached_property
    def _backends(self) -> Sequence[str]:
        return installed_backends() if self.device.type == "cuda" else ()


def _image(size: Size) -> tuple[Image, str]:
    """Gives an image of this size, and what is on it: without its photos, a drawn one."""
    try:
        from benchmarks.image import sample_image

        return sample_image(size), "photos"
    except Exception as error:
        from pcsr.export.verification.references import synthetic_image

        drawn = np.rint(synthetic_image(size) * 255).astype(np.uint8)
        return drawn, f"drawn, for there are no photos: {reason(str(error))}"
