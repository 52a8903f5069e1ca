"""Tiles, and other forms of a pass, are tried on the GPU where it is first launched; the fastest is
kept.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar, cast

import torch
from torch import Tensor

Form = TypeVar("Form", bound=Hashable)
LEAST_PIXELS = 2**20  # of a canvas; below it a launch takes longer than what it does
LEAST_LISTED = 2**16
ROUNDS = 3
LEAD = 2**20  # cycles that the GPU waits, so that launches are queued before the first one begins


@dataclass(frozen=True)
class Tile:
    """Holds the pixels of a tile, and what computes it."""

    block: int
    warps: int
    most_registers: int | None = None
    """Of a thread; None: as many as the compiler takes."""

    @property
    def options(self) -> dict[str, int]:
        """The options of a launch."""
        limit = {"maxnreg": self.most_registers} if self.most_registers else {}
        return {"BLOCK": self.block, "num_warps": self.warps, **limit}

    def __str__(self) -> str:
        limit = f"r{self.most_registers}" if self.most_registers else ""
        return f"{self.block}x{self.warps}{limit}"


@dataclass(frozen=True)
class Work:
    """Holds what a tile is chosen for. `count`: [1] int32, where only so many pixels of the canvas
    are computed.
    """

    name: str
    device: torch.device
    pixels: int
    constants: Mapping[str, Hashable]
    """What the kernel is compiled for, but for the tile."""
    count: Tensor | None = field(default=None, compare=False)

    @property
    def key(self) -> Hashable:
        """Canvases within a power of four of pixels have the same tile."""
        size = (self.pixels.bit_length() - 1) // 2
        return (self.name, self.device, size, *sorted(self.constants.items()))


@dataclass(frozen=True)
class _Choice:
    work: str
    tile: Hashable
    times_ms: Mapping[Hashable, float]

    def __str__(self) -> str:
        if not self.times_ms:
            return f"{self.work}: {self.tile}, not tried: few pixels were listed"
        times = [f"{t} {ms:.3f}" for t, ms in self.times_ms.items() if t != self.tile]
        others = f" ({', '.join(times)})" if times else ""
        return f"{self.work}: {self.tile} {self.times_ms[self.tile]:.3f} ms{others}"


_chosen: dict[Hashable, _Choice] = {}


def chosen_tiles() -> list[str]:
    """Says which tiles this process chose, with the milliseconds of all that were tried."""
    return [str(choice) for choice in _chosen.values()]


def run_fastest(work: Work, tiles: Sequence[Form], run: Callable[[Form], object]) -> None:
    """Launches a pass with the fastest of some tiles or other forms. They are tried where this work
    is first seen: `run` must give the same result however often it is called. The first one is what
    is taken without a trial: on small canvases, on the CPU, and during a capture.
    """
    tile = tiles[0]
    if len(tiles) > 1 and work.device.type == "cuda" and work.pixels >= LEAST_PIXELS:
        if work.key in _chosen:
            tile = cast(Form, _chosen[work.key].tile)
        elif not torch.cuda.is_current_stream_capturing():
            choice = _tried(work, tiles, run)
            _chosen[work.key], tile = choice, cast(Form, choice.tile)
    run(tile)


def _tried(work: Work, tiles: Sequence[Form], run: Callable[[Form], object]) -> _Choice:
    """It waits for the device."""
    name = f"{work.name} of {work.pixels} pixels"
    if work.count is not None:
        listed = int(work.count)
        name = f"{work.name} of {listed} in {work.pixels} pixels"
        if listed < LEAST_LISTED:
            return _Choice(name, tiles[0], {})
    stream = torch.cuda.current_stream(work.device)
    able = []
    for tile in tiles:
        try:
            run(tile)
            able.append(tile)
        except Exception:  # whatever Triton and the compilers below it raise
            if tile == tiles[0]:
                raise
    times: dict[Hashable, float] = dict.fromkeys(able, float("inf"))
    for _ in range(ROUNDS):  # one after another, as the clock rises meanwhile
        torch.cuda._sleep(LEAD)
        marks = [stream.record_event(torch.cuda.Event(enable_timing=True))]
        for tile in able:
            run(tile)
            marks.append(stream.record_event(torch.cuda.Event(enable_timing=True)))
        marks[-1].synchronize()
        for tile, begin, end in zip(able, marks, marks[1:], strict=False):
            times[tile] = min(times[tile], begin.elapsed_time(end))
    return _Choice(name, min(able, key=lambda tile: times[tile]), times)
