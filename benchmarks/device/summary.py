"""The short form of a run: a line per model, size and precision, and what went wrong."""

from collections.abc import Iterator, Sequence
from operator import itemgetter

from benchmarks.contenders import AT_SHARE, MODES
from benchmarks.records import Record
from benchmarks.tables import Column, table, value_of
from pcsr.runtime.profiler.measuring.statistics import grouped
from pcsr.text import size_text

from .goals import fastest, of_case

COLUMNS: tuple[Column, ...] = (
    ("model", "model", ""),
    ("input", "input", ""),
    ("type", "precision", ""),
    *((f"pcsr, {mode}", mode, ".3f") for mode in MODES),
    ("plain, same backend", "same", ".3f"),
    ("plain, eager", "plain, eager PyTorch", ".3f"),
    ("published, 20 % heavy", f"published form, eager, {AT_SHARE}", ".3f"),
    ("/ plain", "over_plain", ".3f"),
    ("/ published", "over_published", ".4f"),
    ("array to array", "host_ms.p50", ".2f"),
    ("peak MiB", "peak_mib", ".0f"),
)


def summary(records: Sequence[Record]) -> str:
    """Prints medians of GPU ms; the last four columns are of the fastest pcsr at 20 % heavy."""
    timed = [r for r in records if r["kind"] == "time" and "contender" in r]
    cases = dict.fromkeys((r["model"], tuple(r["lr_size"]), r["precision"]) for r in timed)
    rows = [_row(timed, *case) for case in cases]
    return "## Times, GPU ms (median)\n\n" + table(COLUMNS, rows) if rows else ""


def _row(records: Sequence[Record], model: str, size: tuple[int, int], precision: str) -> Record:
    """Gives the fastest pcsr at 20 % heavy, with the medians by contender and by mode."""
    shown = of_case(records, model, size, precision)
    fastest_of = {mode: fastest(shown, mode) or {} for mode in MODES}
    at_share = fastest_of[AT_SHARE]
    medians = {r["contender"]: value_of(r, "device_ms.p50") for r in shown}
    return {
        **at_share,
        **medians,
        **{mode: value_of(record, "device_ms.p50") for mode, record in fastest_of.items()},
        "same": medians.get(at_share.get("plain")),
        "model": model,
        "input": size_text(size),
        "precision": precision,
    }


def remarks(records: Sequence[Record], dropped: Sequence[str]) -> str:
    """Says what was not done, what failed, and what a reader must know."""
    lines = [f"- not done, for the time was over: {name}" for name in dropped]
    for record in records:
        if record["kind"] == "networks":
            lines += [f"- {record['model']}: {problem}" for problem in record["problems"]]
            if not record["is_trained"]:
                lines.append(
                    f"- {record['model']} has random weights: k = 0 and ADM mean nothing, 20 % "
                    "heavy stands for them"
                )
    lines += [f"- {text}" for text in _lines(_troubles(records))]
    return "## Remarks\n\n" + "\n".join(dict.fromkeys(lines)) if lines else ""


def faults(records: Sequence[Record]) -> list[str]:
    """Lists what makes the run a failure: a path of ours is wrong or fails, a crash, no network."""
    ours = [r for r in records if r.get("ours") and not r.get("skipped")]
    found = _lines(_troubles(ours, notes=False))
    for record in records:
        found += [f"{record['model']}: {problem}" for problem in record.get("problems", ())]
    return list(dict.fromkeys(found))


def _lines(troubles: Iterator[tuple[str, str, str]]) -> list[str]:
    """Turns (case, who, what) into lines, one for all of a case who have the same trouble."""
    return [
        f"{case} [{'; '.join(dict.fromkeys(who for _, who, _ in same))}]: {what}"
        for (case, what), same in grouped(troubles, itemgetter(0, 2)).items()
    ]


def _troubles(records: Sequence[Record], notes: bool = True) -> Iterator[tuple[str, str, str]]:
    for record in records:
        size = size_text(record["lr_size"]) if record.get("lr_size") else ""
        case = " ".join(p for p in (record["model"], record["precision"], size) if p)
        who = record.get("contender") or record.get("path") or record["kind"]
        whats = [record["error"]] if record.get("error") else []
        whats += record.get("what_failed", ())
        if record["kind"] == "fidelity" and not record.get("passed") and not whats:
            whats = ["nothing was checked"]
        whats += record.get("notes", ()) if notes else ()
        yield from ((case, who, what) for what in whats)
