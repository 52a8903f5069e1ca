"""A worker that crashes, hangs or is out of time costs one step, not the run."""

import os
import sys
import time
from multiprocessing.connection import Connection

import pytest

from benchmarks.device.link import Start
from benchmarks.device.sections import Section, make_sections, time_limit
from benchmarks.device.supervisor import Supervisor
from benchmarks.records import Record
from pcsr.errors import BackendError


def work(pipe: Connection, start: Start) -> None:
    """Does two steps of every section; a precision names what the second one does."""
    if start["device"] == "none":
        pipe.send({"absent": "no GPU here"})
        return
    pipe.send({"machine": {"device": "made up"}})
    while True:
        section, _, _ = pipe.recv()
        steps = ("good", section.precision)
        for step in steps[section.precision in ("partial", "whole") :]:
            key = f"time {section.model}: {step}"
            if key in start["avoid"] or step in start["avoid"]:
                pipe.send({"record": {"kind": "time", "who": key, "error": "avoided"}})
                continue
            pipe.send({"step": key})
            if step in ("partial", "whole"):
                tell_of_x(pipe, step)
            if step == "whole":
                continue
            if step in ("crash", "partial"):
                sys.stderr.write("illegal memory access\n")
                sys.stderr.flush()
                os._exit(7)
            if step == "hang":
                time.sleep(60)
            pipe.send({"record": {"kind": "time", "who": key, "error": None}})
        pipe.send({"done": True})


def tell_of_x(pipe: Connection, step: str) -> None:
    """Tells of a contender before the end, and where the step is whole, at the end."""
    told: Record = {"kind": "time", "contender": "x", "error": None}
    for rounds in (2, 8):
        pipe.send({"record": told | {"rounds": rounds, "partial": True}})
    pipe.send({"trace": "Traceback of y"})
    sys.stderr.write("out of luck\n")
    if step == "whole":
        pipe.send({"record": told | {"rounds": 30}})


class Setup:
    def __init__(self, device: str = "gpu", seconds: float = 60) -> None:
        self.records: list[Record] = []
        self.log: list[str] = []
        self.supervisor = Supervisor(
            say=lambda text: None,
            log=self.log.append,
            start={"device": device},
            deadline=time.monotonic() + seconds,
            work=work,
            patience_s=1.5,
        )

    def run(self, *sections: Section) -> list[tuple[str, str | None]]:
        try:
            self.supervisor.open()
            self.supervisor.run(sections, {}, self.records.append)
        finally:
            self.supervisor.close()
        return [(r.get("who") or f"{r['kind']} {r['contender']}", r["error"]) for r in self.records]


def test_a_crash_is_a_record_and_the_others_are_measured() -> None:
    found = Setup().run(Section("time", "a", "crash"), Section("time", "b", "fine"))
    crash = "the process ended with status 7: illegal memory access"
    assert found == [
        ("time a: good", None),
        ("crash crash", crash),
        ("time a: good", None),
        ("time a: crash", "avoided"),
        ("time b: good", None),
        ("time b: fine", None),
    ]


def test_a_hang_is_ended_and_what_did_it_twice_is_not_tried_again() -> None:
    sections = [Section("time", name, "hang") for name in "abc"]
    found = Setup().run(*sections)
    assert found.count(("crash hang", "no sign of life for 2 s: killed")) == 2
    assert ("time c: hang", "avoided") in found


def test_no_device_is_said() -> None:
    with pytest.raises(BackendError, match="no GPU here"):
        Setup(device="none").run()


def test_what_there_is_no_time_for_is_named() -> None:
    setup = Setup(seconds=1)
    assert setup.run(Section("time", "a", "fp16"), Section("time", "b", "fp16")) == []
    assert setup.supervisor.dropped == ["time a fp16", "time b fp16"]


def test_the_most_important_sections_come_first() -> None:
    sections = make_sections(("carn", "fsrcnn"), ("fp16", "fp32"), ((1080, 1920), (270, 480)))
    assert [section.name for section in sections[:7]] == [
        "ceilings",
        "fidelity carn fp16",
        "time carn fp16 1920x1080",
        "time carn fp16 480x270",
        "kernels carn fp16 1920x1080",
        "kernels carn fp16 480x270",
        "fidelity fsrcnn fp16",
    ]
    assert sections[-1].name == "compiled carn fp16 1920x1080"
    assert all(
        section.kind != "fidelity" for section in make_sections(("carn",), ("fp16",), (), False)
    )


def test_a_section_gets_its_share_of_the_time_and_none_when_it_is_over() -> None:
    large, small = (
        Section("time", "a", "fp16", (1080, 1920)),
        Section("time", "a", "fp16", (270, 480)),
    )
    assert time_limit(large, [], 100) == 100
    limit = time_limit(large, [small, small, small, small], 100)
    assert limit is not None
    assert (time_limit(small, [large] * 4, 100) or 0) < limit < 100
    assert time_limit(small, [], 1) is None


def test_a_crash_keeps_what_was_known_of_others_and_a_log() -> None:
    setup = Setup()
    setup.run(Section("time", "a", "partial"))
    assert [(r.get("contender"), r.get("rounds")) for r in setup.records] == [
        ("x", 8),
        ("partial", None),
        (None, None),
    ]
    assert setup.records[0]["partial"]
    assert any("Traceback of y" in text for text in setup.log)
    assert any("out of luck\nillegal memory access" in text for text in setup.log)


def test_what_is_known_in_the_end_takes_the_place_of_what_was_before() -> None:
    setup = Setup()
    setup.run(Section("time", "a", "whole"))
    assert [(r["contender"], r["rounds"]) for r in setup.records] == [("x", 30)]
