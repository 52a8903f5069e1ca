"""Where the tensors of a network lie in the workspace, for images of one size."""

from dataclasses import dataclass

from .layers import LANES, Network

TILE = 24  # pixels that a kernel computes at a time: it reads beyond the end of a line
ALIGNED = 64
BF16, FLOAT = "bf16", "float32"
WIDTHS = {BF16: 2, FLOAT: 4}


@dataclass(frozen=True)
class Stored:
    """A tensor in the workspace; sizes in bytes, as convolutions.h has them."""

    start: int
    line_bytes: int
    row_bytes: int
    rows: int
    kind: str


@dataclass(frozen=True)
class Plan:
    """How a network runs on images of (height, width)."""

    size: tuple[int, int]
    round_rows: int
    rounds: int
    stored: list[Stored]
    outside: int
    """Where the line of zeros begins."""
    total_bytes: int


@dataclass(frozen=True)
class Tensor:
    """A tensor that a network keeps: what makes it, how it is kept, and what reads it."""

    layer: int
    kind: str
    channels: int
    delay: int
    readers: list[tuple[int, int]]
    """The delay of each reader, and how many rows it reads above and below."""


def kept_tensors(network: Network) -> list[Tensor]:
    """Lists the tensors of a network: the image, then in the order of the layers as bf16 what
    convolutions read, and as float32 what is added.
    """
    delays = network.delays()
    found = []
    for layer in range(-1, len(network.layers)):
        read = [
            (delay, each.kernel // 2)
            for delay, each in zip(delays, network.layers, strict=True)
            if layer in each.inputs
        ]
        added = [
            (delay, 0)
            for delay, each in zip(delays, network.layers, strict=True)
            if each.added == layer
        ]
        channels = LANES if layer < 0 else network.channels(layer)
        own = 0 if layer < 0 else delays[layer]
        if read or layer < 0:
            found.append(Tensor(layer, BF16, channels, own, read))
        if added:
            found.append(Tensor(layer, FLOAT, channels, own, added))
    return found


def make_plan(network: Network, size: tuple[int, int], round_rows: int) -> Plan:
    """Plans a run over images of (height, width) in rounds of so many rows."""
    height, width = size
    round_rows = min(round_rows, height)
    border = max(layer.kernel // 2 for layer in network.layers)
    border += -border % 4
    pixels = border + width + border + TILE
    at = _aligned(pixels * LANES * WIDTHS[FLOAT])
    stored = []
    for tensor in kept_tensors(network):
        pixel_bytes = LANES * WIDTHS[tensor.kind]
        line_bytes = _aligned(pixels * pixel_bytes)
        line_bytes += ALIGNED * (line_bytes % 1024 == 0)  # else lines share the sets of a cache
        rows = [delay + reach - tensor.delay for delay, reach in tensor.readers]
        rows_kept = min(height, round_rows + max(rows, default=0))
        row_bytes = line_bytes * -(-tensor.channels // LANES)
        start = at + border * pixel_bytes
        stored.append(Stored(start, line_bytes, row_bytes, rows_kept, tensor.kind))
        at += row_bytes * rows_kept
    rounds = -(-(height + max(network.delays())) // round_rows)
    return Plan(size, round_rows, rounds, stored, border * LANES * WIDTHS[FLOAT], at)


def _aligned(count: int) -> int:
    return count + -count % ALIGNED
