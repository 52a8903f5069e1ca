"""A run's records as Markdown: what it ran on, whether it is right, how fast it is."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.contenders import Implementation
from benchmarks.records import Record
from benchmarks.tables import Column, table
from pcsr.runtime.profiler.measuring.statistics import grouped

from .goals import goals
from .summary import remarks, summary

TIMED = ("time", "compiled")
COLUMNS: tuple[Column, ...] = (
    ("contender", "contender", ""),
    ("GPU ms p50", lambda r: "failed" if r["error"] else (r["device_ms"] or {}).get("p50"), ".3f"),
    ("p90", "device_ms.p90", ".3f"),
    ("p99", "device_ms.p99", ".3f"),
    ("array to array ms", "host_ms.p50", ".2f"),
    ("enqueue ms", "enqueue_ms.p50", ".2f"),
    ("first call ms", "first_ms", ".0f"),
    ("peak MiB", "peak_mib", ".0f"),
    ("held MiB", "held_mib", ".0f"),
    ("/ plain", "over_plain", ".3f"),
    ("/ published", "over_published", ".4f"),
    ("heavy", "heavy_share", ".1%"),
    ("TFLOP/s", "tflop_s", ".2f"),
    ("GB/s", "gb_s", ".0f"),
)
STAGE_COLUMNS: tuple[Column, ...] = (
    ("mode", "mode", ""),
    ("stage", "stage", ""),
    ("ms", "ms", ".3f"),
    ("GB/s", "gb_s", ".0f"),
    ("of copy", "of_copy", ".0%"),
    ("TFLOP/s", "tflop_s", ".2f"),
    ("of matmul", "of_matmul", ".0%"),
)
FIDELITY_COLUMNS: tuple[Column, ...] = (
    ("model", "model", ""),
    ("type", "precision", ""),
    ("path", "path", ""),
    ("result", lambda r: "passed" if r.get("passed") else "FAILED", ""),
    ("max difference", "worst_difference", ".1e"),
    ("PSNR loss dB", "worst_loss_db", "+.4f"),
    ("least PSNR dB", "least_psnr_db", ".1f"),
    ("routed alike", "routed_alike", ".4%"),
)
GOAL_COLUMNS: tuple[Column, ...] = (
    *((name, name, "") for name in ("what", "wanted", "measured")),
    ("", "verdict", ""),
)
# Not recorded, so that its stages can be told apart.
STAGED = Implementation("pcsr", "torch", "fused", False).label


def write_summary(records: Sequence[Record], dropped: Sequence[str]) -> str:
    """Writes the short form. records: of one run."""
    run = next(r for r in records if r["kind"] == "run")
    parts = (
        _title(run),
        _ceilings(records),
        _fidelity([r for r in records if r["kind"] == "fidelity"]),
        summary(records),
        "## The design's figures (H200, fp16)",
        table(GOAL_COLUMNS, goals(records)),
        remarks(records, dropped),
    )
    return "\n\n".join(part for part in parts if part) + "\n"


def write_details(records: Sequence[Record]) -> str:
    """Writes every contender and every stage of every case."""
    roof = _roof(records)
    timed = [r for r in records if r["kind"] in TIMED and "contender" in r]
    cases = grouped(timed, lambda r: (r["kind"], r["model"], *r["lr_size"], r["precision"]))
    return "\n\n".join(_case(rows, roof) for rows in cases.values()) + "\n"


def _title(run: Record) -> str:
    machine = run["machine"]
    changed = " with changes" if machine.get("dirty") else ""
    of = f"{machine['date']}, commit {machine['commit']}{changed}"
    lines = [f"# {machine['device']}", "", of]
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


def _roof(records: Sequence[Record]) -> Record:
    return next((r for r in records if r["kind"] == "ceilings" and not r.get("error")), {})


def _ceilings(records: Sequence[Record]) -> str:
    found = _roof(records)
    if not found:
        return ""
    return (
        f"Ceilings of this run: copy {found['copy_gb_s']:.0f} GB/s (read + written), matrix "
        f"products {found['matmul_fp16_tflop_s']:.1f} TFLOP/s fp16 and "
        f"{found['matmul_fp32_tflop_s']:.1f} fp32, to the host {found['to_host_gb_s']:.1f} GB/s."
    )


def _fidelity(records: Sequence[Record]) -> str:
    latest = {(r["model"], r["precision"], r.get("path")): r for r in records}
    return "## Fidelity\n\n" + table(FIDELITY_COLUMNS, [*latest.values()]) if latest else ""


def _case(records: Sequence[Record], roof: Record) -> str:
    first = records[0]
    height, width = first["lr_size"]
    large = f"{4 * width}x{4 * height}"
    title = f"## {first['model']} {width}x{height} -> {large}, {first['precision']}"
    title += ", beside torch.compile" if first["kind"] == "compiled" else ""
    note = f"{first['image']}; times by {first['clock']}"
    parts = (title, note, table(COLUMNS, records), _stages(records, roof))
    return "\n\n".join(part for part in parts if part)


def _stages(records: Sequence[Record], roof: Record) -> str:
    """Writes those of the fused passes without a recording."""
    matmul = "matmul_{}_tflop_s"
    rows = [
        {"mode": record["mode"], "stage": name, **stage}
        | {"of_copy": _share(stage.get("gb_s"), roof.get("copy_gb_s"))}
        | {"of_matmul": _share(stage.get("tflop_s"), roof.get(matmul.format(record["precision"])))}
        for record in records
        if record["contender"] == f"{STAGED}, {record['mode']}"
        for name, stage in record["stages"].items()
    ]
    return f"{STAGED}, by stage:\n\n" + table(STAGE_COLUMNS, rows) if rows else ""


def _share(value: float | None, roof: float | None) -> float | None:
    return value / roof if value is not None and roof else None
