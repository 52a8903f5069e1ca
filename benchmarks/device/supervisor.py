"""Gives sections to a worker and keeps what it finds. Where a step ends it or makes it hang, that
step is a failed record, and a new worker goes on without it.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from benchmarks.callers import Files
from benchmarks.contenders import NOT_OURS
from benchmarks.records import Record
from pcsr.errors import BackendError

from .link import Link, Start, Work, WorkerEnded, measure_sections
from .sections import Section, time_limit

PATIENCE_S = 180.0  # of one step: kernels are compiled, convolutions tried
START_PATIENCE_S = 120.0
MOST_RESTARTS = 8
Keep = Callable[[Record], object]
GRACE_S = 20.0  # past the budget, for the step that is under way


@dataclass
class Supervisor:
    """Leads a run. start: what workers are told first. deadline: of time.monotonic, for all."""

    say: Callable[[str], object]
    log: Callable[[str], object]
    """Takes traces and what the worker prints."""
    start: Start
    deadline: float
    work: Work = measure_sections
    patience_s: float = PATIENCE_S
    dropped: list[str] = field(default_factory=list)
    """Names of the sections that were not done."""
    _avoid: set[str] = field(default_factory=set)
    _partial: dict[str, Record] = field(default_factory=dict)
    """By contender: what was known of it when the worker last told."""
    _link: Link | None = None
    _step: str = ""

    def open(self) -> dict[str, Any]:
        """Starts a worker and returns what its machine is.

        Raises:
            BackendError: the device is not there, or the process does not start.
        """
        self._link = Link(self.work, self.start | {"avoid": frozenset(self._avoid)})
        try:
            message = self._link.receive(START_PATIENCE_S)
        except WorkerEnded as ended:
            raise BackendError(f"the measuring process does not start: {ended}") from ended
        if "absent" in message:
            raise BackendError(message["absent"])
        machine: dict[str, Any] = message["machine"]
        return machine

    def run(
        self,
        sections: Sequence[Section],
        files: Mapping[str, Files],
        keep: Keep,
        before: Callable[[Section], object] = lambda section: None,
    ) -> None:
        """Does the sections in their order while there is time.

        Args:
            keep: takes each record at once.
            before: is told of each section before it begins.
        """
        waiting = list(sections)
        restarts = 0
        while waiting and restarts <= MOST_RESTARTS:
            section = waiting[0]
            before(section)
            limit_s = time_limit(section, waiting[1:], self.deadline - monotonic())
            if limit_s is None:
                break
            self.say(f"{section.name} …")
            try:
                self._do(section, files.get(section.model), limit_s, keep)
                waiting.pop(0)
            except WorkerEnded as ended:
                for record in self._partial.values():
                    keep(record)
                if monotonic() > self.deadline + GRACE_S - 2:
                    break
                restarts += 1
                keep(self._crash(section, str(ended)))
                is_new = self._learn()
                if not self._reopened():
                    break
                if not is_new:
                    waiting.pop(0)
        self.dropped = [section.name for section in waiting]

    def close(self) -> None:
        """Ends the worker."""
        if self._link is not None:
            self._link.kill()
            self.log(f"printed by the worker:\n{self._link.printed()}")
            self._link = None

    def _do(self, section: Section, files: Files | None, limit_s: float, keep: Keep) -> None:
        assert self._link is not None
        self._partial.clear()
        self._step = reason = ""
        self._link.send((section, files, limit_s))
        message: dict[str, Any] = {}
        while "done" not in message:
            left_s = self.deadline + GRACE_S - monotonic()
            try:
                message = self._link.receive(min(self.patience_s, max(1.0, left_s)))
            except WorkerEnded as ended:
                raise WorkerEnded(reason or str(ended)) from ended
            self._step = message.get("step", self._step)
            reason = message.get("broken", reason)
            if "trace" in message:
                self.log(f"{self._step}\n{message['trace']}")
            if (record := message.get("record")) is not None:
                who = record.get("contender", "")
                self._partial.pop(who, None)
                if record.get("partial"):
                    self._partial[who] = record
                else:
                    keep(record)

    def _crash(self, section: Section, why: str) -> Record:
        """Makes the record of the step that was under way."""
        self.say(f"{self._step or section.name}: {why}")
        if self._link is not None:
            self.log(f"{self._step or section.name}: {why}\n{self._link.printed()}")
        step = self._step.partition(": ")[2]
        ours = not step.startswith(NOT_OURS)
        who = {"contender": step, "path": step, "ours": ours, "passed": False}
        size = {"lr_size": [*section.size]} if section.size[0] else {}
        crash = {"kind": "crash", "job": section.kind, "error": why}
        return section.facts | crash | size | who

    def _learn(self) -> bool:
        """Avoids that step from now on. Returns whether the section is worth a try without it."""
        is_new = self._step not in self._avoid
        step = self._step.partition(": ")[2]
        if any(known.endswith(f": {step}") for known in self._avoid):
            self._avoid.add(step)  # a second time: nowhere any more
        self._avoid.add(self._step)
        return is_new and bool(self._step)

    def _reopened(self) -> bool:
        self.close()
        with suppress(BackendError):
            self.open()
            return True
        self.say("the measuring process does not start again")
        return False
