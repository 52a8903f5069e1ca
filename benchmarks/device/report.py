"""A run's records as Markdown: what it ran on, whether it is right, how fast it is."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.records import Record
from benchmarks.tables import number, table

from .contenders import Engine
from .summary import remarks, summary
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
    "held MiB",
    "/ plain",
    "/ published",
    "heavy",
    "TFLOP/s",
    "GB/s",
)
STAGE_HEAD = ("mode", "stage", "ms", "GB/s", "of copy", "TFLOP/s", "of matmul")
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
STAGED = Engine("pcsr", "torch", "fused", False).label  # not recorded, so that stages can be told


def write_summary(records: Sequence[Record], dropped: Sequence[str]) -> str:
    """The short form. records: of one run."""
    run = next(r for r in records if r["kind"] == "run")
    parts = (
        _title(run),
        _ceilings(records),
        _fidelity([r for r in records if r["kind"] == "fidelity"]),
        summary(records),
        _targets(records),
        remarks(records, dropped),
    )
    return "\n\n".join(part for part in parts if part) + "\n"


def write_details(records: Sequence[Record]) -> str:
    """Every contender and every stage of every case."""
    roof = next((r for r in records if r["kind"] == "ceilings" and not r.get("error")), {})
    cases: dict[tuple[Any, ...], list[Record]] = {}
    for record in records:
        if record["kind"] in TIMED and "contender" in record:
            case = (record["kind"], record["model"], *record["lr_size"], record["precision"])
            cases.setdefault(case, []).append(record)
    return "\n\n".join(_case(rows, roof) for rows in cases.values()) + "\n"


def _title(run: Record) -> str:
    machine = run["machine"]
    lines = [f"# {machine['device']}", "", f"{machine['date']}, commit {machine['commit']}"]
    if run["quick"]:
        lines += ["", "**A quick run, to see that it all runs. Its times mean nothing.**"]
    if machine.get("sm"):
        lines += [
            "",
            f"sm {machine['sm']}, {machine['memory_mib']} MiB, CUDA {machine['cuda']}, "
            f"cuDNN {machine['cudnn']}, nvidia-smi: {_pairs(machine['nvidia_smi'])}",
        ]
    return "\n".join([*lines, "", _pairs(machine["versions"])])


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
            number(r.get("worst_difference"), ".1e"),
            number(r.get("worst_loss_db"), "+.4f"),
            number(r.get("least_psnr_db"), ".1f"),
            number(r.get("routed_alike"), ".4%"),
        )
        for r in latest.values()
    ]
    return "## Fidelity\n\n" + table(FIDELITY_HEAD, rows) if rows else ""


def _targets(records: Sequence[Record]) -> str:
    rows = [(t.what, t.wanted, t.measured or "", t.verdict) for t in targets(records)]
    head = ("what", "wanted", "measured", "")
    return "## The design's figures (H200, fp16)\n\n" + table(head, rows)


def _case(records: Sequence[Record], roof: Record) -> str:
    first = records[0]
    height, width = first["lr_size"]
    large = f"{4 * height}x{4 * width}"
    title = f"## {first['model']} {height}x{width} -> {large}, {first['precision']}"
    title += ", beside torch.compile" if first["kind"] == "compiled" else ""
    rows = [_row(record) for record in records]
    note = f"{first['image']}; times by {first['clock']}"
    parts = (title, note, table(HEAD, rows), _stages(records, roof))
    return "\n\n".join(part for part in parts if part)


def _row(record: Record) -> tuple[str, ...]:
    times, host = record["device_ms"] or {}, record["host_ms"] or {}
    queued = record["enqueue_ms"] or {}
    return (
        record["contender"],
        "failed" if record["error"] else number(times.get("p50"), ".3f"),
        number(times.get("p90"), ".3f"),
        number(times.get("p99"), ".3f"),
        number(host.get("p50"), ".2f"),
        number(queued.get("p50"), ".2f"),
        number(record["peak_mib"], ".0f"),
        number(record["held_mib"], ".0f"),
        number(record["over_plain"], ".3f"),
        number(record["over_published"], ".4f"),
        number(record["heavy_share"], ".1%"),
        number(record["tflop_s"], ".2f"),
        number(record["gb_s"], ".0f"),
    )


def _stages(records: Sequence[Record], roof: Record) -> str:
    """Of the fused passes without a recording: their stages can be told apart."""
    rows = []
    for record in records:
        if record["contender"] != f"{STAGED}, {record['mode']}":
            continue
        matmul = roof.get(f"matmul_{record['precision']}_tflop_s")
        for name, stage in record["stages"].items():
            gb_s, tflop_s = stage.get("gb_s"), stage.get("tflop_s")
            moved = (number(gb_s, ".0f"), _share(gb_s, roof.get("copy_gb_s")))
            computed = (number(tflop_s, ".2f"), _share(tflop_s, matmul))
            rows.append((record["mode"], name, number(stage["ms"], ".3f"), *moved, *computed))
    return f"{STAGED}, by stage:\n\n" + table(STAGE_HEAD, rows) if rows else ""


def _share(value: float | None, roof: float | None) -> str:
    return number(value / roof, ".0%") if value is not None and roof else ""
