"""Gives sections to a worker and keeps what it finds. Where a step ends it or makes it hang, that
step is a failed record, and a new worker goes on without it.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.callers import Files
from benchmarks.contenders import NOT_OURS
from benchmarks.records import Record
from pcsr.errors import BackendError

from .link import Link, WorkerEnded
from .sections import Section, time_limit

PATIENCE_S = 180.0  # of one step: kernels are compiled, convolutions tried
START_PATIENCE_S = 120.0
MOST_RESTARTS = 8
GRACE_S = 20.0  # past the budget, for the step that is under way


@dataclass
class Supervisor:
    """Leads a run. keep: takes each record at once. start: what workers are told first. connect:
    makes one.

    deadline: of time.monotonic, for all sections.
    """

    keep: Callable[[Record], None]
    say: Callable[[str], object]
    start: Mapping[str, Any]
    connect: Callable[[Mapping[str, Any]], Link]
    deadline: float
    patience_s: float = PATIENCE_S
    dropped: list[str] = field(default_factory=list)
    _avoid: set[str] = field(default_factory=set)
    _link: Link | None = None
    _step: str = ""

    def open(self) -> dict[str, Any]:
        """Starts a worker and returns what its machine is.

        Raises:
            BackendError: the device is not there, or the process does not start.
        """
        try:
            self._link = self.connect(dict(self.start) | {"avoid": sorted(self._avoid)})
            message = self._link.receive(START_PATIENCE_S)
        except WorkerEnded as ended:
            raise BackendError(f"the measuring process does not start: {ended}") from ended
        if "absent" in message:
            raise BackendError(message["absent"])
        machine: dict[str, Any] = message["machine"]
        return machine

    def run(self, sections: Sequence[Section], files: Mapping[str, Files]) -> None:
        """Does the sections in their order while there is time; the names of the others are in
        `dropped`.
        """
        waiting = list(sections)
        restarts = 0
        while waiting:
            section = waiting[0]
            limit_s = time_limit(section, waiting[1:], self.deadline - time.monotonic())
            if limit_s is None or restarts > MOST_RESTARTS:
                self.dropped += [section.name for section in waiting]
                return
            self.say(f"{section.name} …")
            try:
                self._do(section, files.get(section.model), limit_s)
                waiting.pop(0)
            except WorkerEnded as ended:
                if self._is_over:
                    self.dropped += [section.name for section in waiting]
                    return
                restarts += 1
                is_new = self._blame(section, str(ended))
                if not self._reopened():
                    self.dropped += [section.name for section in waiting]
                    return
                if not is_new:
                    waiting.pop(0)

    @property
    def _is_over(self) -> bool:
        return time.monotonic() > self.deadline + GRACE_S - 2

    def close(self) -> None:
        """Ends the worker."""
        if self._link is not None:
            self._link.kill()

    def _do(self, section: Section, files: Files | None, limit_s: float) -> None:
        assert self._link is not None
        self._step = ""
        order = {"section": asdict(section), "files": asdict(files) if files else None}
        self._link.send(order | {"limit_s": limit_s})
        reason = ""
        while True:
            left_s = self.deadline + GRACE_S - time.monotonic()
            try:
                message = self._link.receive(min(self.patience_s, max(1.0, left_s)))
            except WorkerEnded as ended:
                raise WorkerEnded(reason or str(ended)) from ended
            self._step = message.get("step", self._step)
            reason = message.get("broken", reason)
            if "record" in message:
                self.keep(message["record"])
            if "done" in message:
                return

    def _blame(self, section: Section, why: str) -> bool:
        """Records the step that was under way. Whether the section is worth a try without it."""
        self.say(f"{self._step or section.name}: {why}")
        facts: Record = {"model": section.model, "precision": section.precision}
        facts |= {"lr_size": [*section.size]} if section.size[0] else {}
        step = self._step.partition(": ")[2]
        ours = not step.startswith(NOT_OURS)
        who = {"contender": step, "path": step, "ours": ours, "passed": False}
        self.keep({"kind": "crash", "job": section.kind, "error": why} | facts | who)
        is_new = bool(self._step) and self._step not in self._avoid
        if any(known.endswith(f": {step}") for known in self._avoid):
            self._avoid.add(step)  # a second time: nowhere any more
        self._avoid.add(self._step)
        return is_new

    def _reopened(self) -> bool:
        self.close()
        with suppress(BackendError):
            self.open()
            return True
        self.say("the measuring process does not start again")
        return False
