"""The compiled passes of what changes from one frame to the next, where pixels lie scattered."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcsr.runtime.cpu import passes
from pcsr.runtime.cpu.passes import PEAKS, Labels, floats, scratch
from pcsr.runtime.geometry.grid import Floats

Mask = NDArray[np.bool_]
Counts = NDArray[np.int64]


def relabel(keys: Floats, limits: Floats, labels: Labels, fresh: Mask) -> Counts:
    """Labels pixels [N] by how many of the limits their keys lie below. Sets `fresh` where that
    differs from what `labels` had, and returns by how much the count of each label grew: [M].
    """
    grown = np.zeros(len(limits) + 1, dtype=np.int64)
    passes.lib.pcsr_relabel(
        floats(keys),
        keys.size,
        floats(limits),
        len(limits),
        passes.ffi.from_buffer("uint8_t[]", labels),
        passes.ffi.from_buffer("uint8_t[]", fresh),
        passes.ffi.from_buffer("int64_t[]", grown),
    )
    return grown


def finish_fresh(
    planes: Floats,
    assignment: Labels,
    fresh: Mask,
    rows: slice,
    refine_below: int,
    out: NDArray[Any],
) -> None:
    """Finishes again the pixels of some rows that are fresh or beside one that is, and maybe more;
    the others of `out` stay. fresh: [n, W]; the rest as of `passes.finish`.
    """
    height, width = assignment.shape
    passes.lib.pcsr_finish_fresh(
        floats(planes),
        passes.ffi.from_buffer("uint8_t[]", assignment),
        passes.ffi.from_buffer("uint8_t[]", fresh),
        height,
        width,
        rows.start,
        rows.stop,
        refine_below,
        PEAKS[out.dtype],
        passes.ffi.from_buffer(out),
        scratch(9 * width),
    )


def move_in_histogram(
    before: Floats, after: Floats, table: NDArray[np.float64], first: float, last: float
) -> None:
    """Takes values out of the bins of `passes.add_to_histogram`, and adds as many others."""
    passes.lib.pcsr_histogram_moved(
        floats(before),
        floats(after),
        after.size,
        first,
        last,
        len(table),
        passes.ffi.from_buffer("double[]", table),
    )
