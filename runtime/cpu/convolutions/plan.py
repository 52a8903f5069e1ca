"""Where the tensors of a network lie in memory, and how runs on images of one size are divided."""

from dataclasses import dataclass
from itertools import pairwise

from .layers import LANES, Network

TILE = 24  # pixels that a kernel computes at a time: it reads beyond the end of a line
ALIGNED = 64
CACHE_SETS = 1024  # lines that lie such a multiple apart take each other's place in a cache
ROWS, COLUMNS = 8, 96  # of an image that one thread computes in one go: so many rows, least columns
UNIT = 4  # columns that are not divided
MOST_REPEATED = 1 / 12
"""Of an image's columns, how many may be computed twice so that threads need not wait for each
other: beside other work on the same cores they wait for most of the time."""


@dataclass(frozen=True)
class Stored:
    """A tensor in the workspace; in bytes, as convolutions.h has them."""

    start: int
    line_bytes: int
    row_bytes: int
    outside: int
    rows: int


@dataclass(frozen=True)
class Plan:
    """How a network runs on images of (height, width)."""

    size: tuple[int, int]
    round_rows: int
    """Rows that each step computes in a round."""
    rounds: int
    parts: int
    """What a step computes in a round is divided into."""
    columns: int
    """Parts that lie side by side."""
    stored: tuple[Stored, ...]
    """The normalised image, and the results of all layers but the last."""
    workspace_bytes: int
    filled: list[tuple[int, int, int]]
    """What is no zero in a fresh workspace: begin, end, byte."""


@dataclass(frozen=True)
class Strip:
    """Columns of an image that are computed by themselves: those that are wanted, and those that
    are seen for them.
    """

    seen: slice
    wanted: slice

    @property
    def width(self) -> int:
        """Counts those that are seen."""
        return int(self.seen.stop - self.seen.start)


def strips_of(network: Network, width: int, threads: int) -> list[Strip]:
    """Divides an image's columns into a strip for each thread, or none: all threads then compute
    one strip together, step by step.
    """
    halo = network.delays()[-1]
    halo += -halo % UNIT
    if width < threads * COLUMNS or 2 * halo * (threads - 1) > MOST_REPEATED * width:
        return [Strip(slice(0, width), slice(0, width))]
    edges = [width * index // threads // UNIT * UNIT for index in range(threads)]
    wanted = [slice(*edge) for edge in pairwise([*edges, width])]
    return [
        Strip(slice(max(0, one.start - halo), min(width, one.stop + halo)), one) for one in wanted
    ]


def make_plan(network: Network, size: tuple[int, int], threads: int) -> Plan:
    """Plans runs over images of (height, width) by so many threads."""
    height, width = size
    columns = max(1, min(threads, width // COLUMNS))
    parts = columns * -(-threads // columns)
    round_rows = min(height, ROWS * parts // columns)
    delays = network.delays()
    border = max(layer.kernel // 2 for layer in network.layers)
    border += -border % (ALIGNED // LANES)
    pixel_bytes = LANES * network.value_bytes
    line_bytes = (border + width + border + TILE) * pixel_bytes
    line_bytes += -line_bytes % ALIGNED
    line_bytes += ALIGNED * (line_bytes % CACHE_SETS == 0)
    column = border * pixel_bytes
    outside = sorted(set(network.paddings))  # lines of these bytes come first
    at, stored = line_bytes * len(outside), []
    filled: list[tuple[int, int, int]] = []
    for tensor in range(-1, len(network.layers) - 1):
        rows = min(height, round_rows + _rows_behind(network, delays, tensor))
        row_bytes = line_bytes * -(-network.channels(tensor) // LANES)
        padding = network.paddings[tensor + 1]
        beyond = line_bytes * outside.index(padding) + column
        stored.append(Stored(at + column, line_bytes, row_bytes, beyond, rows))
        filled.append((at, at + row_bytes * rows, padding))
        at += row_bytes * rows
    filled += [(i * line_bytes, (i + 1) * line_bytes, byte) for i, byte in enumerate(outside)]
    filled = [each for each in filled if each[2]]
    rounds = -(-(height + delays[-1]) // round_rows)
    return Plan(size, round_rows, rounds, parts, columns, tuple(stored), at, filled)


def _rows_behind(network: Network, delays: list[int], tensor: int) -> int:
    """Counts the rows of a tensor that its readers need besides those of a round."""
    made = delays[tensor] if tensor >= 0 else 0
    behind = [0]
    for delay, layer in zip(delays, network.layers, strict=True):
        if tensor in layer.inputs:
            behind.append(delay + layer.kernel // 2 - made)
        if tensor == layer.added:
            behind.append(delay - made)
    return max(behind)
