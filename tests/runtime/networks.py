"""Random folded MLPs of any widths, and what they compute in float64."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pcsr.manifest import Upsampler
from pcsr.runtime.cpu.passes import FeatureBand, PixelPasses
from pcsr.runtime.geometry.grid import Floats, Grid
from pcsr.runtime.mlps import MlpWeights

from . import liif, reference

Doubles = NDArray[np.float64]
Bools = NDArray[np.bool_]
Labels = NDArray[np.uint8]
Size = tuple[int, int]


def mlp_arrays(depth: int, widths: Sequence[int], seed: int = 0) -> dict[str, Floats]:
    """The arrays of one MLP as mlps.npz names them; outputs are about 1. widths: hidden ones, then
    the outputs.
    """
    random = np.random.default_rng((seed, depth, *widths))

    def normal(*shape: int) -> Floats:
        values: Floats = (random.normal(size=shape) / np.sqrt(shape[-1])).astype(np.float32)
        return values

    first = widths[0]
    arrays = {
        "feature_weight": normal(first, depth),
        "row_weight": random.normal(0, 0.5, first).astype(np.float32),
        "column_weight": random.normal(0, 0.5, first).astype(np.float32),
        "cell_weight": normal(first, 2),
        "bias": random.normal(0, 0.5, first).astype(np.float32),
    }
    for index, (inputs, outputs) in enumerate(itertools.pairwise(widths), 1):
        arrays[f"weight_{index}"] = normal(outputs, inputs)
        arrays[f"bias_{index}"] = random.normal(0, 0.5, outputs).astype(np.float32)
    return arrays


@dataclass(frozen=True)
class Scene:
    """An image with random features and MLPs: the inputs of the passes, and what they should
    give.
    """

    grid: Grid
    image: Floats
    features: Floats
    mlps: Mapping[str, Mapping[str, Floats]]
    ways: Mapping[str, Upsampler]
    """How some upsamplers are evaluated; the others once, with a base."""
    bf16: bool = False
    """Products in bfloat16."""

    @classmethod
    def make(
        cls,
        size: Size,
        scale: float,
        hidden: Mapping[str, Sequence[int]],
        depth: int = 6,
        seed: int = 0,
        ways: Mapping[str, tuple[Literal[1, 4], Literal["bilinear", "none"]]] = {},
    ) -> "Scene":
        """hidden: widths by role, heaviest first; `classifier` gives 1 or M logits. ways: some
        upsamplers' neighbours and bases.
        """
        random = np.random.default_rng((seed, *size))
        upsamplers = sum(role != "classifier" for role in hidden)
        outputs = {"classifier": 1 if upsamplers == 2 else upsamplers}
        return cls(
            Grid.make(size, scale),
            random.random((3, *size), dtype=np.float32),
            random.normal(size=(depth, *size)).astype(np.float32),
            {
                role: mlp_arrays(depth, [*widths, outputs.get(role, 3)], seed + index)
                for index, (role, widths) in enumerate(hidden.items())
            },
            {role: Upsampler(tuple(hidden[role]), *way) for role, way in ways.items()},
        )

    @property
    def passes(self) -> PixelPasses:
        """The compiled passes."""
        mlps = {
            role: MlpWeights.of(arrays, self.ways.get(role)) for role, arrays in self.mlps.items()
        }
        return PixelPasses(mlps, self.grid, len(self.features), bf16=self.bf16)

    @property
    def rows(self) -> slice:
        """All output rows."""
        return slice(0, self.grid.hr_size[0])

    @property
    def upsamplers(self) -> list[str]:
        """Their roles, heaviest first."""
        return [role for role in self.mlps if role != "classifier"]

    def band(self, first: int = 0, stop: int | None = None) -> FeatureBand:
        """Some input rows; the image has one more on each side where there is one, and so have the
        features where upsamplers have four neighbours.
        """
        height = self.grid.lr_size[0]
        stop = height if stop is None else stop
        top, bottom = max(0, first - 1), min(height, stop + 1)
        image = np.ascontiguousarray(self.image[:, top:bottom])
        if any(way.neighbours == 4 for way in self.ways.values()):
            first, stop = top, bottom
        return FeatureBand(np.ascontiguousarray(self.features[:, first:stop]), first, image, top)

    def assignment(self, kind: str = "random", seed: int = 0) -> Labels:
        """[H, W]: `random`, or every pixel to one upsampler, or one `corner` to the heaviest."""
        count, size = len(self.upsamplers), self.grid.hr_size
        labels = np.full(size, count - 1, dtype=np.uint8)
        if kind == "random":
            return np.random.default_rng(seed).integers(0, count, size, dtype=np.uint8)
        if kind == "corner":
            labels[-1, -1] = 0
        elif kind == "heavy":
            labels[:] = 0
        elif kind == "without the middle":
            labels[::2] = 0
        return labels

    def composed(self, labels: Labels) -> Floats:
        """[3, H, W] by the compiled passes, in one call."""
        out = np.full((3, *self.grid.hr_size), 7, dtype=np.float32)
        seconds = np.zeros(len(self.upsamplers))
        self.passes.compose(self.band(), self.rows, labels, out, seconds)
        return out

    def spoil(self, value: float) -> Bools:
        """Makes the features of input pixel (2, 30) this value, one of them NaN; tells which output
        pixels read them: [H, W].
        """
        self.features[:, 2, 30] = value
        self.features[0, 2, 30] = np.nan
        rows, columns = self.grid.rows.nearest == 2, self.grid.columns.nearest == 30
        hit: Bools = rows[:, None] & columns
        return hit

    def expected(self, role: str) -> Doubles:
        """[outputs, H, W] of one MLP."""
        is_ensemble = role in self.ways and self.ways[role].neighbours == 4
        around = liif.corners(self.grid.lr_size, self.grid.hr_size, is_ensemble)
        mlp, cell = self.mlps[role], self.grid.cell
        results = [
            weight
            * reference.folded_mlp(mlp, self.features[:, at.rows, at.columns], at.offset, cell)
            for at, weight in zip(around, liif.weights(around), strict=True)
        ]
        total: Doubles = np.sum(results, axis=0)
        return total

    def expected_image(self, labels: Labels) -> Doubles:
        """[3, H, W] base plus residual of each pixel's upsampler."""
        bilinear = reference.grid_sample(
            self.image.transpose(1, 2, 0), self.grid.hr_size, "bilinear"
        ).transpose(2, 0, 1)
        out = np.zeros(bilinear.shape)
        for index, role in enumerate(self.upsamplers):
            has_base = role not in self.ways or self.ways[role].base == "bilinear"
            mine = self.expected(role) + (bilinear if has_base else 0)
            out += np.where(labels == index, mine, 0)
        return out
