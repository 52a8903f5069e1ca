"""Routing within the graph: by k, or by the image's own spread of difficulties (ADM)."""

import itertools
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from pcsr.single_file import K

from .writer import GraphWriter

BINS = 2**16
UPDATES = 19  # of the centroids, at most
TOLERANCE = 1e-4
NONE = 2.0  # a threshold above all difficulties


def route_by_k(
    write: GraphWriter, logits: Sequence[str], cost: NDArray[np.float32], k: float
) -> list[list[str]]:
    """Gives for each part with logits [N, K] the [N] bool masks of all upsamplers but the lightest,
    heaviest first.
    """
    weight = write.constant([k], name=K)
    if len(cost) == 2:
        log_ratio = np.log(float(cost[0]) / float(cost[1]))
        cut = write.op("Mul", weight, write.constant([log_ratio]))
        return [[write.op("Greater", write.reshape(each, -1), cut)] for each in logits]
    penalty = write.op("Mul", weight, write.constant(np.log(cost)[None]))
    masks = []
    for each in logits:
        utility = write.op("Sub", each, penalty)
        best = write.op("ArgMax", utility, axis=1, keepdims=0, select_last_index=1)
        masks.append([write.op("Equal", best, write.whole(j)) for j in range(len(cost) - 1)])
    return masks


def route_adaptively(
    write: GraphWriter,
    logits: Sequence[str],
    upsamplers: int,
    has_histogram: bool,
    listed: Callable[[Sequence[str]], str],
) -> list[list[str]]:
    """Gives the masks of ADM, as `route_by_k`. With a histogram, which scatters, clusters are
    found among its bins, else among all pixels. listed: joins what is known of the parts, each
    pixel once.
    """
    difficulties = [difficulty(write, each, upsamplers) for each in logits]
    bounds = _bounds(write, listed(difficulties), upsamplers, has_histogram)
    masks = []
    for each in difficulties:
        above = [write.op("GreaterOrEqual", each, bound) for bound in bounds]
        new = [write.op("Xor", now, before) for before, now in itertools.pairwise(above)]
        masks.append([above[0], *new])
    return masks


def difficulty(write: GraphWriter, logits: str, upsamplers: int) -> str:
    """Gives the probability [N] of the heavier half of the upsamplers, in the steps of
    pcsr.runtime.routing.rule: what is level there has to be level here.
    """
    if upsamplers == 2:
        return _sigmoid(write, write.reshape(logits, -1))
    op, across = write.op, write.whole(1)
    weights = op("Exp", op("Sub", logits, op("ReduceMax", logits, across, keepdims=1)))

    def log_of(first: int, last: int) -> str:
        half = op("Slice", weights, write.whole(first), write.whole(last), across)
        total = op("ReduceSum", half, across, keepdims=0)
        return op("Log", op("Max", total, write.constant([np.finfo(np.float32).tiny])))

    heavy = (upsamplers + 1) // 2
    return _sigmoid(write, op("Sub", log_of(0, heavy), log_of(heavy, upsamplers)))


def _sigmoid(write: GraphWriter, logit: str) -> str:
    """Gives 1 / (1 + exp(-logit)) as the passes do: ONNX Runtime's Sigmoid stops short of 1."""
    op, one = write.op, write.constant([1.0])
    decay = op("Exp", op("Neg", op("Abs", logit)))
    is_positive = op("GreaterOrEqual", logit, write.constant([0.0]))
    return op("Div", op("Where", is_positive, one, decay), op("Add", one, decay))


def _bounds(write: GraphWriter, difficulty: str, clusters: int, has_histogram: bool) -> list[str]:
    """Finds the thresholds between clusters, hardest first, each [1]."""
    op = write.op
    low, high = (op(kind, difficulty, keepdims=1) for kind in ("ReduceMin", "ReduceMax"))
    is_flat = op("Equal", low, high)
    span = op("Where", is_flat, write.constant([1.0]), op("Sub", high, low))
    values = op("Div", op("Sub", difficulty, low), span)
    counts = None
    if has_histogram:
        counts = _histogram(write, values)
        values = write.constant((np.arange(BINS) + 0.5) / BINS)
    cuts = _lloyd(write, values, counts, clusters)
    bounds = op("Add", low, op("Mul", cuts, span))
    bounds = op("Where", is_flat, write.constant([NONE]), bounds)
    return [write.gather(bounds, write.whole(j)) for j in range(clusters - 1)]


def _histogram(write: GraphWriter, values: str) -> str:
    place = write.op("Mul", values, write.constant([float(BINS)]))
    bins = write.cast(write.op("Min", place, write.constant([BINS - 1.0])), TensorProto.INT64)
    ones = write.op("Expand", write.constant([1], np.int32), write.op("Shape", values))
    empty = write.constant(np.zeros(BINS), np.int32)
    return write.cast(write.op("ScatterElements", empty, bins, ones, axis=0, reduction="add"))


def _lloyd(write: GraphWriter, values: str, counts: str | None, clusters: int) -> str:
    """Finds the cuts [M - 1] of Lloyd's algorithm, as pcsr.runtime.routing.adaptive does."""
    op = write.op
    clustering = _Clustering(write, values, counts)
    if clusters == 2:
        mean = op("Div", clustering.total, clustering.members)
        centroids = op("Concat", mean, write.constant([0.0]), axis=0)
    else:
        centroids = write.constant(np.linspace(1, 0, clusters))
    cuts = _middles(write, centroids)
    ended = write.constant([False], np.bool_)
    for step in range(UPDATES):
        if step:
            cuts = op("Where", ended, cuts, _middles(write, centroids))
        updated = clustering.means(cuts, centroids)
        if step == UPDATES - 1:
            break
        shift = op("Sub", updated, centroids)
        shift = op("ReduceSum", op("Mul", shift, shift), keepdims=1)
        ended = op("Or", ended, op("LessOrEqual", shift, write.constant([TOLERANCE])))
        centroids = updated
    return cuts


class _Clustering:
    """Values in clusters between cuts; each counts once, or as often as `counts` says."""

    def __init__(self, write: GraphWriter, values: str, counts: str | None) -> None:
        self._write, self._values, self._counts = write, values, counts
        one = write.constant([1.0])
        counts = counts or write.op("Expand", one, write.op("Shape", values))
        self.members = write.op("ReduceSum", counts, keepdims=1)
        self._weighted = write.op("Mul", values, counts) if self._counts else values
        self.total = write.op("ReduceSum", self._weighted, keepdims=1)

    def means(self, cuts: str, centroids: str) -> str:
        """Gives the mean of each cluster, hardest first; an empty one keeps its centroid."""
        write, op = self._write, self._write.op
        above = op("GreaterOrEqual", self._values, write.unsqueeze(cuts, 1))
        chosen = write.cast(above)
        counted = op("Mul", chosen, self._counts) if self._counts else chosen
        members = self._between(counted, self.members)
        totals = self._between(op("Mul", chosen, self._weighted), self.total)
        means = op("Div", totals, op("Max", members, write.constant([1.0])))
        return op("Where", op("Greater", members, write.constant([0.0])), means, centroids)

    def _between(self, above: str, whole: str) -> str:
        """Sums over each cluster, of what lies above each cut [M - 1, n] and of all [1]."""
        op = self._write.op
        sums = op("ReduceSum", above, self._write.whole(1), keepdims=0)
        upper = op("Concat", sums, whole, axis=0)
        lower = op("Concat", self._write.constant([0.0]), sums, axis=0)
        return op("Sub", upper, lower)


def _middles(write: GraphWriter, centroids: str) -> str:
    def cut(first: int, last: int) -> str:
        return write.op("Slice", centroids, write.whole(first), write.whole(last), write.whole(0))

    both = write.op("Add", cut(0, -1), cut(1, 2**31 - 1))
    return write.op("Mul", both, write.constant([0.5]))
