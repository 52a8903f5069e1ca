"""The design's figures for one H200 in fp16, held against what was measured."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.records import Record

from .contenders import MODES
from .jobs import SIZES

OVER_PLAIN = 2.0  # times as fast as the plain network compiled the same way
OVER_PUBLISHED = 20.0
PRECISION = "fp16"
LIMITS_MS = {
    ("carn", (1080, 1920)): 8.0,
    ("carn", (540, 960)): 2.2,
    ("carn", (276, 420)): 0.6,
    ("fsrcnn", (1080, 1920)): 2.0,
}


@dataclass(frozen=True)
class Target:
    """One figure. measured: None where it was not."""

    what: str
    wanted: str
    measured: str | None
    is_met: bool | None

    @property
    def verdict(self) -> str:
        """In a word."""
        return {True: "met", False: "MISSED", None: "not measured"}[self.is_met]


def targets(records: Sequence[Record]) -> list[Target]:
    """Every figure in every mode, by the contender of ours that is the default."""
    found: list[Target] = []
    for (model, size), limit_ms in LIMITS_MS.items():
        for mode in MODES:
            found += _targets(records, model, size, mode, limit_ms)
    for model in dict.fromkeys(r["model"] for r in records if r["kind"] == "time"):
        for size in SIZES:
            if (model, size) not in LIMITS_MS:
                for mode in MODES:
                    found += _ratios(
                        fastest(records, model, size, PRECISION, mode), model, size, mode
                    )
    return found


def _targets(
    records: Sequence[Record], model: str, size: tuple[int, int], mode: str, limit_ms: float
) -> Iterator[Target]:
    record = fastest(records, model, size, PRECISION, mode)
    what = f"{_case(model, size, mode)}: GPU time"
    if record is None:
        yield Target(what, f"<= {limit_ms:g} ms", None, None)
        return
    ms = record["device_ms"]["p50"]
    yield Target(what, f"<= {limit_ms:g} ms", f"{ms:.3f} ms", ms <= limit_ms)
    yield from _ratios(record, model, size, mode)


def _ratios(
    record: Record | None, model: str, size: tuple[int, int], mode: str
) -> Iterator[Target]:
    if record is None:
        return
    for key, name, wanted in (
        ("over_plain", "plain, same backend", OVER_PLAIN),
        ("over_published", "published form", OVER_PUBLISHED),
    ):
        ratio = record[key]
        what = f"{_case(model, size, mode)}: speed over {name}"
        if ratio is None:
            yield Target(what, f">= {wanted:g}x", None, None)
        else:
            yield Target(what, f">= {wanted:g}x", f"{1 / ratio:.2f}x", 1 / ratio >= wanted)


def fastest(
    records: Sequence[Record], model: str, size: tuple[int, int], precision: str, mode: str
) -> Record | None:
    """The fastest of our contenders in a mode; one that failed is none."""
    candidates = [
        r
        for r in records
        if r["kind"] == "time"
        and (r["model"], tuple(r["lr_size"]), r["precision"]) == (model, size, precision)
        and r.get("family") == "pcsr"
        and r["mode"] == mode
        and r["error"] is None
        and r["device_ms"]
    ]
    return min(candidates, key=lambda r: float(r["device_ms"]["p50"]), default=None)


def _case(model: str, size: tuple[int, int], mode: str) -> str:
    return f"{model} {size[0]}x{size[1]} {PRECISION}, {mode}"
