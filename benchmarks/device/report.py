"""A run's records as Markdown: what it ran on, whether it is right, how fast it is."""

from collections.abc import Mapping, Sequence
from typing import Any

from tabulate import tabulate

from benchmarks.records import Record

from .targets import targets

TIMED = ("time", "compiled")
HEAD = (
    "contender",
    "GPU ms p50",
    "p90",
    "p99",
    "array to array ms",
    "enqueue ms",
    "peak MiB",
    "/ plain",
    "/ published",
    "heavy",
    "TFLOP/s",
    "GB/s",
)
FIDELITY_HEAD = (
    "model",
    "type",
    "path",
    "result",
    "max difference",
    "PSNR loss dB",
    "least PSNR dB",
    "routed alike",
)
STAGED = "torch, fused"  # the contender whose stages are shown: not recorded, so they can be told


def write_report(records: Sequence[Record], dropped: Sequence[str]) -> str:
    """All of it. records: of one run."""
    run = next(r for r in records if r["kind"] == "run")
    parts = [
        _title(run),
        _ceilings(records),
        _fidelity([r for r in records if r["kind"] == "fidelity"]),
        *_cases([r for r in records if r["kind"] in TIMED]),
        _targets(records),
        _remarks(records, dropped),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def faults(records: Sequence[Record]) -> list[str]:
    """What makes the run a failure: a path of ours that is wrong or fails, a crash, no network."""
    found = []
    for record in records:
        is_wrong = record["kind"] == "fidelity" and not record.get("passed")
        if record.get("ours") and (is_wrong or record.get("error")):
            why = record.get("error") or "; ".join(record.get("what_failed", ()))
            found.append(f"{_who(record)}: {why}")
        found += [f"{record['model']}: {p}" for p in record.get("problems", ())]
    return list(dict.fromkeys(found))


def _title(run: Record) -> str:
    machine = run["machine"]
    lines = [f"# {machine['device']}", "", f"{machine['date']}, commit {machine['commit']}"]
    if run["quick"]:
        lines.append("**A quick run, to see that it all runs. Its times mean nothing.**")
    if machine.get("sm"):
        lines.append(
            f"sm {machine['sm']}, {machine['memory_mib']} MiB, CUDA {machine['cuda']}, "
            f"cuDNN {machine['cudnn']}, nvidia-smi: {_pairs(machine['nvidia_smi'])}"
        )
    lines.append(_pairs(machine["versions"]))
    return "\n".join(lines)


def _pairs(values: Mapping[str, Any] | str) -> str:
    if isinstance(values, str):
        return values
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _ceilings(records: Sequence[Record]) -> str:
    found = next((r for r in records if r["kind"] == "ceilings" and not r.get("error")), None)
    if found is None:
        return ""
    return (
        f"Ceilings of this run: copy {found['copy_gb_s']:.0f} GB/s (read + written), matrix "
        f"products {found['matmul_fp16_tflop_s']:.1f} TFLOP/s fp16 and "
        f"{found['matmul_fp32_tflop_s']:.1f} fp32, to the host {found['to_host_gb_s']:.1f} GB/s."
    )


def _fidelity(records: Sequence[Record]) -> str:
    latest = {(r["model"], r["precision"], r.get("path")): r for r in records}
    rows = [
        (
            r["model"],
            r["precision"],
            r.get("path", ""),
            "passed" if r.get("passed") else "FAILED",
            _number(r.get("worst_difference"), ".1e"),
            _number(r.get("worst_loss_db"), "+.4f"),
            _number(r.get("least_psnr_db"), ".1f"),
            _number(r.get("routed_alike"), ".4%"),
        )
        for r in latest.values()
    ]
    return "## Fidelity\n\n" + _table(FIDELITY_HEAD, rows) if rows else ""


def _cases(records: Sequence[Record]) -> list[str]:
    """A table per model, size and precision."""
    cases: dict[tuple[Any, ...], list[Record]] = {}
    for record in records:
        size = tuple(record["lr_size"])
        case = (record["kind"], record["model"], size, record["precision"])
        cases.setdefault(case, []).append(record)
    return [_case(*case, rows) for case, rows in cases.items()]  # type: ignore[arg-type]


def _case(
    kind: str, model: str, size: Sequence[int], precision: str, records: Sequence[Record]
) -> str:
    height, width = size
    title = f"## {model} {height}x{width} -> {4 * height}x{4 * width}, {precision}"
    title += ", beside torch.compile" if kind == "compiled" else ""
    rows = [_row(r) for r in records if "contender" in r]
    return "\n\n".join(p for p in (title, _table(HEAD, rows), _stages(records)) if p)


def _row(record: Record) -> tuple[str, ...]:
    times, host = record["device_ms"] or {}, record["host_ms"] or {}
    queued = record["enqueue_ms"] or {}
    return (
        record["contender"],
        "failed" if record["error"] else _number(times.get("p50"), ".3f"),
        _number(times.get("p90"), ".3f"),
        _number(times.get("p99"), ".3f"),
        _number(host.get("p50"), ".2f"),
        _number(queued.get("p50"), ".2f"),
        _number(record["peak_mib"], ".0f"),
        _number(record["over_plain"], ".3f"),
        _number(record["over_published"], ".4f"),
        _number(record["heavy_share"], ".1%"),
        _number(record["tflop_s"], ".2f"),
        _number(record["gb_s"], ".0f"),
    )


def _stages(records: Sequence[Record]) -> str:
    rows = [
        (
            record["mode"],
            name,
            _number(stage["ms"], ".3f"),
            _number(stage.get("gb_s"), ".0f"),
            _number(stage.get("tflop_s"), ".2f"),
        )
        for record in records
        if record.get("family") == "pcsr" and record["contender"].endswith(f"{STAGED}, {record['mode']}")
        for name, stage in record["stages"].items()
    ]
    return _table(("mode", "stage (not recorded)", "ms", "GB/s", "TFLOP/s"), rows) if rows else ""


def _targets(records: Sequence[Record]) -> str:
    rows = [(t.what, t.wanted, t.measured or "", t.verdict) for t in targets(records)]
    return "## The design's figures (H200, fp16)\n\n" + _table(
        ("what", "wanted", "measured", ""), rows
    )


def _remarks(records: Sequence[Record], dropped: Sequence[str]) -> str:
    lines = [f"- not done, for the time was over: {name}" for name in dropped]
    for record in records:
        if record["kind"] == "networks":
            lines += [f"- {record['model']}: {problem}" for problem in record["problems"]]
            if not record["is_trained"]:
                lines.append(
                    f"- {record['model']} has random weights: k = 0 and ADM mean nothing, 20 % "
                    "heavy stands for them"
                )
        if record.get("error"):
            lines.append(f"- {_who(record)}: {record['error']}")
        lines += [f"- {_who(record)}: {text}" for text in record.get("what_failed", ())]
        lines += [f"- {_who(record)}: {text}" for text in record.get("notes", ())]
    return "## Remarks\n\n" + "\n".join(dict.fromkeys(lines)) if lines else ""


def _who(record: Record) -> str:
    size = "x".join(map(str, record.get("lr_size", ())))
    parts = (record["model"], record["precision"], size)
    who = record.get("contender") or record.get("path") or record["kind"]
    return " ".join(part for part in (*parts, f"[{who}]") if part)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    align = ("left", *["right"] * (len(head) - 1))
    return tabulate(rows, head, tablefmt="github", colalign=align, disable_numparse=True)


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
