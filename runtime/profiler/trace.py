"""A few calls as Chrome's trace events, for chrome://tracing and Perfetto: a process per case, a
lane per stage and thread.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pcsr.runtime.timing import DEVICE_LANE, Span, recorded_spans

from .cases import Spec
from .opened import OpenedBundles

Event = dict[str, Any]


def record_calls(
    specs: Sequence[Spec], bundles: OpenedBundles, calls: int
) -> dict[str, list[Span]]:
    """Records the spans of some calls of each case, by its name."""
    found = {}
    for spec in specs:
        with recorded_spans() as spans:
            for _ in range(calls):
                bundles[spec.setup].staged(spec)
        found[spec.name] = spans
    return found


def trace_json(spans: Mapping[str, Sequence[Span]]) -> str:
    """Writes the text of a trace file. spans: by case, each with its own zero of time."""
    events = [
        event for pid, name in enumerate(spans, start=1) for event in _case(pid, name, spans[name])
    ]
    return json.dumps({"displayTimeUnit": "ms", "traceEvents": events}, allow_nan=False) + "\n"


def _case(pid: int, name: str, spans: Sequence[Span]) -> list[Event]:
    lanes = _lanes(spans)
    zero = min((span.start_s for span in spans), default=0.0)
    return [
        _about("process_name", pid, 0, name=name),
        _about("process_sort_index", pid, 0, sort_index=pid),
        *(_about("thread_name", pid, tid, name=lanes[key]) for tid, key in enumerate(lanes, 1)),
        *(
            _about("thread_sort_index", pid, tid, sort_index=tid)
            for tid in range(1, len(lanes) + 1)
        ),
        *(_complete(pid, [*lanes].index(_key(span)) + 1, span, zero) for span in _in_order(spans)),
    ]


def _lanes(spans: Sequence[Span]) -> dict[tuple[str, str], str]:
    """Their names by stage and thread, in the order of the stages' first starts."""
    stages = list(dict.fromkeys(span.name for span in _in_order(spans)))
    keys = sorted({_key(span) for span in spans}, key=lambda key: (stages.index(key[0]), key[1]))
    threads = {stage: [key for key in keys if key[0] == stage] for stage in stages}
    return {key: key[0] if len(threads[key[0]]) == 1 else f"{key[0]} ({key[1]})" for key in keys}


def _key(span: Span) -> tuple[str, str]:
    return span.name, span.lane


def _in_order(spans: Sequence[Span]) -> list[Span]:
    return sorted(spans, key=lambda span: span.start_s)


def _about(what: str, pid: int, tid: int, **values: Any) -> Event:  # noqa: ANN401
    return {"ph": "M", "name": what, "pid": pid, "tid": tid, "ts": 0, "args": values}


def _complete(pid: int, tid: int, span: Span, zero: float) -> Event:
    where = "gpu" if span.lane == DEVICE_LANE else "cpu"
    return {
        "ph": "X",
        "name": span.name,
        "cat": where,
        "pid": pid,
        "tid": tid,
        "ts": 1e6 * (span.start_s - zero),
        "dur": 1e6 * max(0.0, span.stop_s - span.start_s),
        "args": {"thread": span.lane},
    }
