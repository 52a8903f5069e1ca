"""The design's figures for one H200 in fp16, held against what was measured."""

from collections.abc import Iterator, Sequence

from benchmarks.contenders import MODES
from benchmarks.image import Size
from benchmarks.records import Record

from .sections import SIZES

PRECISION = "fp16"
LIMITS_MS = {
    ("carn", (1080, 1920)): 8.0,
    ("carn", (540, 960)): 2.2,
    ("carn", (276, 420)): 0.7,
    ("fsrcnn", (1080, 1920)): 2.5,
}
SPEEDS = (  # key of the ratio of times, of whom, least speed-up
    ("over_plain", "plain, same backend", 2.0),  # compiled the same way
    ("over_published", "published form", 20.0),
)


def goals(records: Sequence[Record]) -> list[Record]:
    """Lists every figure in every mode, by the contender of ours that is the default: what it is,
    the wanted and the measured value, and a verdict in a word.
    """
    models = dict.fromkeys(r["model"] for r in records if r["kind"] == "time")
    cases = dict.fromkeys([*LIMITS_MS, *((model, size) for model in models for size in SIZES)])
    return [goal for case in cases for mode in MODES for goal in _goals(records, *case, mode)]


def _goals(records: Sequence[Record], model: str, size: Size, mode: str) -> Iterator[Record]:
    record = fastest(of_case(records, model, size, PRECISION), mode)
    case = f"{model} {size[1]}x{size[0]} {PRECISION}, {mode}"
    limit_ms = LIMITS_MS.get((model, size))
    if limit_ms is not None:
        ms = float(record["device_ms"]["p50"]) if record else None
        shown, is_met = (None, None) if ms is None else (f"{ms:.3f} ms", ms <= limit_ms)
        yield _goal(f"{case}: GPU time", f"<= {limit_ms:g} ms", shown, is_met)
    for key, name, wanted in SPEEDS if record else ():
        ratio: float | None = (record or {})[key]
        shown, is_met = (f"{1 / ratio:.2f}x", 1 / ratio >= wanted) if ratio else (None, None)
        yield _goal(f"{case}: speed over {name}", f">= {wanted:g}x", shown, is_met)


def _goal(what: str, wanted: str, measured: str | None, is_met: bool | None) -> Record:
    verdict = {True: "met", False: "MISSED", None: "not measured"}[is_met]
    return {"what": what, "wanted": wanted, "measured": measured, "verdict": verdict}


def of_case(records: Sequence[Record], model: str, size: Size, precision: str) -> list[Record]:
    """Lists the times of one model at one size in one precision."""
    times = [r for r in records if r["kind"] == "time" and "contender" in r]
    case = (model, size, precision)
    return [r for r in times if (r["model"], tuple(r["lr_size"]), r["precision"]) == case]


def fastest(records: Sequence[Record], mode: str) -> Record | None:
    """Finds the fastest of our contenders in a mode; one that failed is none."""
    ours = [r for r in records if (r["family"], r["mode"], r["error"]) == ("pcsr", mode, None)]
    candidates = [r for r in ours if r["device_ms"]]
    return min(candidates, key=lambda r: float(r["device_ms"]["p50"]), default=None)
