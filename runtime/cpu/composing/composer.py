"""Routes output rows and composes them with the compiled passes."""

from functools import partial
from typing import NamedTuple

from pcsr.runtime.cpu.output import refuse_infinite
from pcsr.runtime.cpu.passes import FeatureBand, Labels, PixelPasses, sigmoid
from pcsr.runtime.geometry.grid import Floats, Grid
from pcsr.runtime.process.memory import ReusedMemory
from pcsr.runtime.routing.rule import Rule
from pcsr.runtime.timing import ThreadSpans


class Unrefined(NamedTuple):
    """Output rows that are composed and not refined: [3, n, W] float32 RGB, [n, W] uint8 upsamplers
    and [n, W] float32 difficulties.
    """

    planes: Floats
    labels: Labels
    difficulty: Floats


class Composer:
    """Routes and composes the output rows of one grid with `count` upsamplers."""

    def __init__(self, grid: Grid, passes: PixelPasses, count: int, memory: ReusedMemory) -> None:
        self.grid, self._passes, self._take = grid, passes, memory.take
        self._count = count
        self._upsamplers = [f"upsampler_{j}" for j in range(self._count)]

    def logits(self, band: FeatureBand, rows: slice) -> Floats:
        """Computes what the classifier gives for some output rows: [K, n, W]."""
        return self._passes.logits(band, rows, self._take)

    def fill(
        self,
        band: FeatureBand,
        rows: slice,
        rule: Rule,
        target: Unrefined,
        spans: ThreadSpans,
        logits: Floats | None = None,
    ) -> float | None:
        """Fills `target` with some output rows, and returns the threshold. logits: [K, n, W], what
        the classifier gives for them; None computes it.
        """
        threshold = None
        if self._count == 1:
            with spans.stage("prepare"):
                target.labels[:], target.difficulty[:] = 0, 1
        else:
            with spans.stage("classifier"):
                found = self.logits(band, rows) if logits is None else logits
            with spans.stage("routing"):
                threshold = routed(rule, found, target.labels, target.difficulty)
        self.compose(band, rows, target.labels, target.planes, spans)
        return threshold

    def compose(
        self, band: FeatureBand, rows: slice, labels: Labels, planes: Floats, spans: ThreadSpans
    ) -> None:
        """Composes some output rows whose upsamplers are known: labels [n, W]."""
        with spans.stages("compose", self._upsamplers) as seconds:
            self._passes.compose(band, rows, labels, planes, seconds)
            refuse_infinite(planes)


def routed(rule: Rule, logits: Floats, labels: Labels, difficulty: Floats) -> float | None:
    """Routes pixels by their logits [K, n, W] into labels and contiguous difficulty [n, W]; returns
    the threshold.
    """
    found = partial(sigmoid, out=difficulty.reshape(-1))
    routing = rule(logits.reshape(len(logits), -1).T, found)
    labels[:] = routing.assignment.reshape(labels.shape)
    return routing.threshold
