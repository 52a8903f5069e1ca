"""Records of one group as a table, and what is wrong with them."""

from collections.abc import Sequence
from typing import Any

from benchmarks.records import Record
from benchmarks.tables import Column, table

QUIET_CORES = 0.1
COLUMNS: tuple[Column, ...] = (
    ("contender", "label", ""),
    ("ms", lambda r: "failed" if r["error"] else r["median_ms"], ".1f"),
    ("p10-p90", lambda r: f"{r['p10_ms']:.1f}-{r['p90_ms']:.1f}" if r["median_ms"] else "", ""),
    ("/ plain", "time_over_plain", ".3f"),
    ("/ published", "time_over_published", ".3f"),
    ("peak MiB", "peak_mib", ".0f"),
    ("loaded MiB", "loaded_mib", ".0f"),
    ("heavy", "heavy_share", ".1%"),
    ("GMAC", "gmacs", ".3g"),
    ("paper GFLOPs", "paper_gflops", ".3g"),
    ("GFLOP/s", "gflops_per_s", ".1f"),
    ("of sgemm", "share_of_sgemm", ".0%"),
)


def format_group(records: Sequence[Record]) -> str:
    """Prints title, table, time per stage, comparisons and reasons of failures, for a terminal."""
    shown = table(COLUMNS, records, "simple")
    parts = [_title(records[0]), shown, _stages(records), "\n".join(_remarks(records))]
    return "\n\n".join(part for part in parts if part) + "\n"


def faults(records: Sequence[Record], must_compare: bool = False) -> list[str]:
    """Finds what must not be: one of our contenders failed, or its image is not the published one.

    must_compare: also, that a rival took part and no comparison came of it.
    """
    found = []
    names = {record["contender"] for record in records}
    for record in records:
        who = f"{record['model']} {record['size']}, {record['label']}"
        if record["ours"] and record["error"]:
            found.append(f"{who}: {record['error']}")
        compared = record["fidelity"]
        if compared and not compared["is_faithful"]:
            found.append(f"{who}: differs from {compared['rival']}: {_differences(compared)}")
        if must_compare and not compared and record["rival"] in names and not record["error"]:
            found.append(f"{who}: could not be compared with {record['rival']}, which failed")
    return found


def _title(record: Record) -> str:
    (h, w), (height, width) = record["lr_size"], record["hr_size"]
    pcsr, plain = record["weights"]
    lines = [
        f"{record['model']} {record['size']}: {w}x{h} -> {width}x{height}, "
        f"{record['rounds']} rounds, {record['environment']['threads']} threads, "
        f"sgemm {record['sgemm_gflops']:.0f} GFLOP/s",
        f"weights {pcsr}, {plain}",
    ]
    if not record["is_trained"]:
        lines.append("random weights: k = 0 and ADM mean nothing, 20 % heavy stands for them")
    return "\n".join(lines)


def _stages(records: Sequence[Record]) -> str:
    """Time per stage of our contenders."""
    shown = [record for record in records if record["ours"] and record["stage_ms"]]
    names = dict.fromkeys(name for record in shown for name in record["stage_ms"])
    columns: list[Column] = [("stages, ms", "label", "")]
    columns += [(name, f"stage_ms.{name}", ".1f") for name in names]
    return table(columns, shown, "simple") if names else ""


def _remarks(records: Sequence[Record]) -> list[str]:
    lines = []
    foreign = records[0]["foreign_cores"]
    if foreign is not None and foreign > QUIET_CORES:
        lines.append(
            f"THE MACHINE WAS NOT QUIET: others used {foreign:.1f} cores during the rounds; quote "
            "no figure of these, PyTorch suffers most"
        )
    for record in records:
        label = record["label"]
        if record["error"]:
            lines.append(f"{label} failed: {record['error']}")
        if record["is_slow"] and not record["error"]:
            lines.append(f"{label} is slow: {len(record['times_ms'])} rounds, without warm-up")
        if record["is_released"] and not record["error"]:
            lines.append(f"{label} is loaded anew for every call, or not all would fit in memory")
        if record["fidelity"]:
            compared = record["fidelity"]
            lines.append(f"{label} against {compared['rival']}: {_differences(compared)}")
    return lines


def _differences(compared: dict[str, Any]) -> str:
    if compared["psnr_db"] is None:
        return "equal"
    return (
        f"PSNR {compared['psnr_db']:.1f} dB, max difference {compared['max_levels']} of 255, "
        f"{compared['share_off']:.4%} of pixels differ by more than 1"
    )
