"""What is compiled: every kernel behind the backbone of a network, and those in its backbone."""

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from unittest import mock

import numpy as np
import torch

from pcsr.runtime import kernels
from pcsr.runtime.geometry.device_grid import DeviceGrid
from pcsr.runtime.geometry.grid import Grid
from pcsr.runtime.kernels import launch
from pcsr.runtime.kernels.convolutions import grouped, layout, pointwise
from pcsr.runtime.mlps import MlpWeights

from .compiler import Compiled, Launches, recorded

LR_SIZE = (4, 512)
Widths = Sequence[int]


@dataclass(frozen=True)
class Shape:
    """The sizes of a network: hidden widths of its MLPs by role, and what its backbone has."""

    depth: int
    """Feature channels."""
    hidden: Mapping[str, Widths]
    joins: Sequence[tuple[list[int], int]] = ()
    """1x1 convolutions of several maps: their channels, and the outputs."""
    groups: Sequence[tuple[int, int]] = ()
    """3x3 convolutions: groups of 16 channels, and the outputs of the 1x1 behind (0: none)."""

    def mlps(self) -> dict[str, MlpWeights]:
        """Makes MLPs of these widths; their values do not matter."""
        upsamplers = sum(role != "classifier" for role in self.hidden)
        logits = 1 if upsamplers == 2 else upsamplers
        return {
            role: _mlp(self.depth, (*widths, logits if role == "classifier" else 3))
            for role, widths in self.hidden.items()
        }


SHAPES = {
    "carn": Shape(
        52,
        {"upsampler_0": [74] * 4, "upsampler_1": [20] * 3, "classifier": [10] * 2},
        [([64, 56, 56, 56], 52)],
        [(4, 0), (4, 64)],
    ),
    "fsrcnn": Shape(
        48,
        {"upsampler_0": [58] * 4, "upsampler_1": [10] * 3, "classifier": []},
        [([48], 16)],
        [(1, 48)],
    ),
    "srresnet": Shape(
        58, {"upsampler_0": [170] * 4, "upsampler_1": [40] * 3, "classifier": [20] * 2}
    ),
}


def _mlp(depth: int, widths: Widths) -> MlpWeights:
    shapes = {
        "feature_weight": (widths[0], depth),
        "row_weight": (widths[0],),
        "column_weight": (widths[0],),
        "cell_weight": (widths[0], 2),
        "bias": (widths[0],),
    }
    for index in range(1, len(widths)):
        shapes[f"weight_{index}"] = (widths[index], widths[index - 1])
        shapes[f"bias_{index}"] = (widths[index],)
    return MlpWeights.of({name: np.zeros(size, np.float32) for name, size in shapes.items()})


@dataclass(frozen=True)
class Case:
    """A kernel as it is launched."""

    name: str
    launches: Launches
    pixels: float
    """Output pixels (of convolutions: input pixels) of a program, or of one turn of it."""
    trips: tuple[int, ...] = ()
    """How often its loops turn, the outermost first; without the one over tiles."""
    persistent: bool = False
    """Whether its outermost loop takes tile after tile."""
    listed: bool = False
    """Whether it computes the pixels of a list only."""
    scale: float = 1
    """Output pixels of an input pixel, along each axis."""

    def compiled(self, capability: int) -> Compiled:
        """Compiles it for a GPU of this compute capability, as 90."""
        return self.launches.compile(capability)


def passes(
    mlps: Mapping[str, MlpWeights], depth: int, scale: float, dtype: torch.dtype, capability: int
) -> list[Case]:
    """Gives the dense pass and the sparse ones as a GPU of this compute capability gets them. They
    are launched on the CPU, where nothing is run.
    """
    with mock.patch.object(launch, "generation", return_value=capability // 10):
        return list(_passes(mlps, depth, scale, dtype))


def _passes(
    mlps: Mapping[str, MlpWeights], depth: int, scale: float, dtype: torch.dtype
) -> Iterator[Case]:
    grid, packed = Grid.make(LR_SIZE, scale), kernels.PackedMlps.of(mlps, dtype, "cpu")
    inputs = kernels.BandInputs(
        packed,
        DeviceGrid.of(grid, "cpu"),
        torch.zeros((LR_SIZE[0] * LR_SIZE[1], packed.first_weight.shape[1]), dtype=dtype),
        torch.zeros((3, *LR_SIZE)),
    )
    canvas = torch.zeros((*grid.hr_size, 3))
    logits = torch.zeros((packed.classes, grid.pixels)) if packed.classes else None
    upsamplers = sum(role != "classifier" for role in mlps)
    if packed.classes or len(packed.upsamplers) < upsamplers:
        seen = _seen("dense", "dense_kernel", partial(kernels.dense, inputs, canvas, logits))
        block, rows = (_constant(seen, name) for name in ("BLOCK", "GROUP"))
        layers = packed.dense.layers if packed.dense else 0
        trips = (rows, max(1, layers - 1))  # where they are loops
        yield Case("dense", seen, block * rows, trips, persistent=True, scale=scale)
    pixels, count = (torch.zeros(n, dtype=torch.int32) for n in (grid.pixels, 1))
    for j, upsampler in enumerate(packed.upsamplers):
        listed = (pixels, count) if j < upsamplers - 1 else None
        loops: tuple[int, ...] = (max(1, upsampler.layers - 1),)
        if upsampler.is_usual:
            work = partial(kernels.sparse, inputs, j, pixels, count, canvas)
            seen = _seen("sparse", "sparse_kernel", work)
        else:
            work = partial(kernels.ensemble, inputs, j, listed, canvas)
            seen, loops = _seen("ensemble", "ensemble_kernel", work), (upsampler.neighbours, *loops)
        block, name = _constant(seen, "BLOCK"), f"upsampler_{j}"
        is_listed = listed is not None
        yield Case(name, seen, block, loops, persistent=True, listed=is_listed, scale=scale)


def convolutions(shape: Shape, dtype: torch.dtype) -> Iterator[Case]:
    """Yields those of our own of a backbone."""
    zeros = partial(torch.zeros, dtype=dtype)

    def image(channels: int) -> torch.Tensor:
        empty = zeros(1, channels, *LR_SIZE)
        return empty.contiguous(memory_format=torch.channels_last)

    for channels, outputs in shape.joins:
        weight = layout.pack_pointwise(zeros(outputs, sum(channels), 1, 1), channels)
        maps, bias = [image(count) for count in channels], zeros(outputs)
        work = partial(pointwise.pointwise, maps, weight, outputs, bias, None, 0.0)
        seen = _seen("convolutions.pointwise", "pointwise_kernel", work)
        yield Case(f"1x1 {'+'.join(map(str, channels))} to {outputs}", seen, _share(seen))
    for groups, outputs in shape.groups:
        packed, bias = layout.pack_grouped(zeros(groups * 16, 16, 3, 3), groups), zeros(groups * 16)
        projection = None
        if outputs:
            weight = layout.pack_projection(zeros(outputs, groups * 16, 1, 1), groups)
            added = image(outputs)
            projection = grouped.Projection(weight, outputs, zeros(outputs), added, 0.0)
        work = partial(
            grouped.grouped, image(groups * 16), packed, (groups, 16), bias, 0.0, projection
        )
        seen = _seen("convolutions.grouped", "grouped_kernel", work)
        name = f"3x3 {groups} x 16" + (f", 1x1 to {outputs}" if outputs else "")
        yield Case(name, seen, _share(seen), (groups,))


def _seen(module: str, name: str, work: Callable[[], object]) -> Launches:
    home = importlib.import_module(f"pcsr.runtime.kernels.{module}")
    with recorded(home, name) as launches:
        work()
    return launches


def _constant(seen: Launches, name: str) -> Any:  # noqa: ANN401
    return seen.seen[-1][1][name]


def _share(seen: Launches) -> float:
    """Input pixels of a program."""
    programs = int(np.prod(seen.grids[-1]))
    return LR_SIZE[0] * LR_SIZE[1] / programs
