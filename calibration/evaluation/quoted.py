"""Figures that others published, to stand apart from what was measured; `quoted.toml` holds them
and says where they come from.
"""

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pcsr.errors import UsageError

DATA = Path(__file__).with_name("quoted.toml")


@dataclass(frozen=True)
class QuotedRow:
    """One row of a published table."""

    network: str
    backbone: str
    protocol: str
    """`patch-wise` or `image-wise`, the published table that it is of."""
    test_set: str
    parameters: str
    """As printed: 25K, 1.5M."""
    psnr_rgb_db: float
    gflops: float
    percent: int
    """Of the original network's GFLOPs."""
    source: str

    @property
    def parameter_count(self) -> int:
        """The printed parameters as a number, which is no more precise."""
        return round(float(self.parameters[:-1]) * {"K": 10**3, "M": 10**6}[self.parameters[-1]])


def test_set_named(name: str) -> str:
    """Gives the name of a test set as the paper writes it; capitals do not count.

    Raises:
        UsageError: there are no rows for it.
    """
    known: list[str] = _data()["test_sets"]
    for each in known:
        if each.casefold() == name.casefold():
            return each
    raise UsageError(f"no rows are stored for the test set {name!r} (known: {', '.join(known)})")


def quoted_scale() -> float:
    """Gives the scale that all rows are of."""
    return float(_data()["scale"])


def quoted_rows(test_set: str, backbones: Iterable[str]) -> tuple[QuotedRow, ...]:
    """Lists the rows of networks with one of these backbones, in the order of the paper's tables.

    Raises:
        UsageError: as `test_set_named`.
    """
    data, test_set, wanted = _data(), test_set_named(test_set), set(backbones)
    return tuple(
        _row(row, test_set, data["source"])
        for row in data["rows"]
        if row["backbone"] in wanted and test_set in row
    )


def _row(row: dict[str, Any], test_set: str, source: str) -> QuotedRow:
    psnr_db, gflops, percent = row[test_set]
    what = (row["network"], row["backbone"], row["protocol"], test_set, row["parameters"])
    return QuotedRow(*what, psnr_db, gflops, percent, source)


@cache
def _data() -> dict[str, Any]:
    return tomllib.loads(DATA.read_text(encoding="utf-8"))
