"""Where the tensors of a network lie in memory, and how runs on images of one size are divided."""

from dataclasses import dataclass

from .layers import LANES, Network

TILE = 24  # pixels that a kernel computes at a time: it reads beyond the end of a line
BYTES = 2  # of a value
ALIGNED = 64
CACHE_SETS = 1024  # lines that lie such a multiple apart take each other's place in a cache
ROWS, COLUMNS = 8, 96  # of an image that one thread computes in one go: so many rows, least columns


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


def make_plan(network: Network, size: tuple[int, int], threads: int) -> Plan:
    """Plans runs over images of (height, width) by so many threads."""
    height, width = size
    columns = max(1, min(threads, width // COLUMNS))
    parts = columns * -(-threads // columns)
    round_rows = min(height, ROWS * parts // columns)
    delays = network.delays()
    border = max(layer.kernel // 2 for layer in network.layers)
    border += -border % (ALIGNED // LANES)
    line_bytes = (border + width + border + TILE) * LANES * BYTES
    line_bytes += -line_bytes % ALIGNED
    line_bytes += ALIGNED * (line_bytes % CACHE_SETS == 0)
    column = border * LANES * BYTES
    at, stored = line_bytes, []  # a line of zeros comes first
    for tensor in range(-1, len(network.layers) - 1):
        rows = min(height, round_rows + _rows_behind(network, delays, tensor))
        row_bytes = line_bytes * -(-network.channels(tensor) // LANES)
        stored.append(Stored(at + column, line_bytes, row_bytes, column, rows))
        at += row_bytes * rows
    rounds = -(-(height + delays[-1]) // round_rows)
    return Plan(size, round_rows, rounds, parts, columns, tuple(stored), at)


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
