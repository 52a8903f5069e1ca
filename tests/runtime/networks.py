"""Random folded MLPs of any widths, and what they compute in float64."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pcsr.runtime.cpu.passes import FeatureBand, PixelPasses
from pcsr.runtime.geometry.grid import Floats, Grid
from pcsr.runtime.mlps import MlpWeights

from . import reference

Doubles = NDArray[np.float64]
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

    @classmethod
    def make(
        cls,
        size: Size,
        scale: float,
        hidden: Mapping[str, Sequence[int]],
        depth: int = 6,
        seed: int = 0,
    ) -> "Scene":
        """hidden: widths by role, heaviest first; `classifier` gives 1 or M logits."""
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
        )

    @property
    def passes(self) -> PixelPasses:
        """The compiled passes."""
        mlps = {role: MlpWeights.of(arrays) for role, arrays in self.mlps.items()}
        return PixelPasses(mlps, self.grid, len(self.features))

    @property
    def rows(self) -> slice:
        """All output rows."""
        return slice(0, self.grid.hr_size[0])

    @property
    def upsamplers(self) -> list[str]:
        """Their roles, heaviest first."""
        return [role for role in self.mlps if role != "classifier"]

    def band(self, first: int = 0, stop: int | None = None) -> FeatureBand:
        """Some input rows; the image has one more on each side where there is one."""
        height = self.grid.lr_size[0]
        stop = height if stop is None else stop
        top = max(0, first - 1)
        image = self.image[:, top : min(height, stop + 1)]
        features = np.ascontiguousarray(self.features[:, first:stop])
        return FeatureBand(features, first, np.ascontiguousarray(image), top)

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

    def expected(self, role: str) -> Doubles:
        """[outputs, H, W] of one MLP."""
        rows, columns = self.grid.rows, self.grid.columns
        z = self.features[:, rows.nearest[:, None], columns.nearest]
        offset = np.stack(np.broadcast_arrays(rows.offset[:, None], columns.offset))
        return reference.folded_mlp(self.mlps[role], z, offset, self.grid.cell)

    def expected_image(self, labels: Labels) -> Doubles:
        """[3, H, W] bilinear base plus each pixel's residual."""
        base = reference.grid_sample(
            self.image.transpose(1, 2, 0), self.grid.hr_size, "bilinear"
        ).transpose(2, 0, 1)
        out: Doubles = base.astype(np.float64)
        for index, role in enumerate(self.upsamplers):
            out += np.where(labels == index, self.expected(role), 0)
        return out
