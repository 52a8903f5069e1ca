"""Finishes the output rows of a band: refines, converts and counts them."""

from collections.abc import Sequence

from pcsr.runtime.cpu.output import Rows
from pcsr.runtime.cpu.passes import counted, finish
from pcsr.runtime.timing import ThreadSpans

from .held_rows import HeldRows


class Finishing:
    """Finishes rows of one band, which are composed and have neighbours that are. All rows are
    of the whole output. Several threads may ask at once.

    held: the rows that are composed; `stop` is the one behind them.
    target: the rows that are finished, of which there are those of `rows`.
    counts: how many pixels of each part that was finished each upsampler made.
    """

    def __init__(
        self,
        held: HeldRows,
        stop: int,
        target: Rows,
        rows: slice,
        refined_below: int,
        upsamplers: int,
    ) -> None:
        self.rows, self._held, self._target = rows, held, target
        self._upsamplers = upsamplers
        self._top, self._refined_below = stop - len(held.labels), refined_below
        self.counts: list[list[int]] = []

    def __call__(self, part: slice, spans: ThreadSpans) -> None:
        """Finishes some of the rows."""
        if part.start >= part.stop:
            return
        held, target, first = self._held, self._target, self.rows.start
        local = slice(part.start - self._top, part.stop - self._top)
        own = slice(part.start - first, part.stop - first)
        with spans.stage("refinement"):
            finish(held.planes, held.labels, local, self._refined_below, target.pixels[own])
            labels = held.labels[local]
            if held.labels is not target.assignment:
                target.assignment[own] = labels
                target.difficulty[own] = held.difficulty[local]
            self.counts.append(counted(labels, self._upsamplers))


def parted(chunks: Sequence[slice], rows: slice) -> tuple[dict[int, slice], list[slice]]:
    """Parts rows that are to be finished by the chunks in which they are composed: by the start of
    each chunk those beside which no row of another one lies, and the seams between chunks.
    """
    inner, seams, at = {}, list[slice](), rows.start
    for chunk in chunks[:-1]:
        until, behind = max(at, chunk.stop - 1), chunk.stop + 1
        inner[chunk.start] = slice(at, min(until, rows.stop))
        at = min(behind, rows.stop)
        seams.append(slice(until, at))
    if chunks:
        inner[chunks[-1].start] = slice(at, rows.stop)
    return inner, seams
