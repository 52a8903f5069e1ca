"""A few calls as Chrome's trace events, for chrome://tracing and Perfetto: a process per case, a
lane per stage and thread.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any

from pcsr.runtime.timing import DEVICE_LANE, Span, recorded_spans

from .cases import Spec
from .opened import OpenedBundles

CALLS = 3  # of each case
Event = dict[str, Any]


def record_calls(specs: Sequence[Spec], bundles: OpenedBundles) -> dict[str, list[Span]]:
    """Records the spans of a few calls of each case, by its name."""
    found = {}
    for spec in specs:
        with recorded_spans() as spans:
            for _ in range(CALLS):
                bundles[spec.setup].staged(spec)
        found[spec.name] = spans
    return found


def trace_json(spans: Mapping[str, Sequence[Span]]) -> str:
    """Writes the text of a trace file. spans: by case, each with its own zero of time."""
    events = [
        event
        for pid, (name, some) in enumerate(spans.items(), start=1)
        for event in _case(pid, name, sorted(some, key=attrgetter("start_s")))
    ]
    return json.dumps({"displayTimeUnit": "ms", "traceEvents": events}, allow_nan=False) + "\n"


def _case(pid: int, case: str, spans: Sequence[Span]) -> Iterator[Event]:
    """Yields the events of a case. spans: in the order of their starts."""
    stages = list(dict.fromkeys(span.name for span in spans))
    keys = {(span.name, span.lane) for span in spans}
    lanes = sorted(keys, key=lambda key: (stages.index(key[0]), key[1]))
    yield _about("process_name", pid, 0, name=case)
    yield _about("process_sort_index", pid, 0, sort_index=pid)
    for tid, (stage, thread) in enumerate(lanes, start=1):
        is_alone = sum(name == stage for name, _ in lanes) == 1
        yield _about("thread_name", pid, tid, name=stage if is_alone else f"{stage} ({thread})")
        yield _about("thread_sort_index", pid, tid, sort_index=tid)
    for span in spans:
        yield {
            "ph": "X",
            "name": span.name,
            "cat": "gpu" if span.lane == DEVICE_LANE else "cpu",
            "pid": pid,
            "tid": lanes.index((span.name, span.lane)) + 1,
            "ts": 1e6 * (span.start_s - spans[0].start_s),
            "dur": 1e6 * max(0.0, span.stop_s - span.start_s),
            "args": {"thread": span.lane},
        }


def _about(what: str, pid: int, tid: int, **values: Any) -> Event:  # noqa: ANN401
    return {"ph": "M", "name": what, "pid": pid, "tid": tid, "ts": 0, "args": values}
