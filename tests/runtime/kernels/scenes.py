"""The scenes of the passes as tensors, for the kernels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pcsr.runtime.geometry.device_grid import DeviceGrid
from pcsr.runtime.geometry.grid import Axis, Floats, Nearest
from pcsr.runtime.kernels import BandInputs, PackedMlps, RoutingBuffers, dense, ensemble, sparse
from pcsr.runtime.mlps import MlpWeights
from tests.runtime.networks import Doubles, Labels, Scene

Hidden = Mapping[str, Sequence[int]]
CARN: Hidden = {"upsampler_0": [74] * 4, "upsampler_1": [20] * 3, "classifier": [10] * 2}
FSRCNN: Hidden = {"upsampler_0": [58] * 4, "upsampler_1": [10] * 3, "classifier": []}
SRRESNET: Hidden = {"upsampler_0": [170] * 4, "upsampler_1": [40] * 3, "classifier": [20] * 2}
MODELS = {"carn": CARN, "fsrcnn": FSRCNN, "srresnet": SRRESNET}
DEPTHS = {"carn": 52, "fsrcnn": 48, "srresnet": 58}
_THREE: dict[str, list[int]] = {
    "upsampler_0": [74, 60],  # widths that differ
    "upsampler_1": [20],
    "upsampler_2": [],  # no layer behind the first
    "classifier": [12],
}
THREE: Hidden = _THREE
THREE_LINEAR: Hidden = _THREE | {"classifier": []}
ONE: Hidden = {"upsampler_0": [40] * 2}
NAN = float("nan")


def packed(scene: Scene, dtype: torch.dtype) -> PackedMlps:
    mlps = {role: MlpWeights.of(mlp, scene.ways.get(role)) for role, mlp in scene.mlps.items()}
    return PackedMlps.of(mlps, dtype, "cpu")


@dataclass(frozen=True)
class Band:
    """Some output rows of a scene, and the input rows that they need: what the passes get."""

    scene: Scene
    dtype: torch.dtype = torch.float32
    first: int = 0
    stop: int | None = None

    @property
    def rows(self) -> slice:
        return slice(self.first, self.scene.grid.hr_size[0] if self.stop is None else self.stop)

    @property
    def size(self) -> tuple[int, int]:
        return self.rows.stop - self.rows.start, self.scene.grid.hr_size[1]

    @property
    def mlps(self) -> PackedMlps:
        return packed(self.scene, self.dtype)

    def inputs(self) -> BandInputs:
        grid, mlps = self.scene.grid, self.mlps
        axes: list[Axis | Nearest] = [grid.rows]
        if any(mlp.neighbours > 1 for mlp in mlps.upsamplers):
            axes += grid.sides[0]
        nearest = np.stack([axis.nearest[self.rows] for axis in axes])
        features = self.scene.features[:, nearest.min() : nearest.max() + 1]
        rows = torch.from_numpy(features.reshape(len(features), -1).T.copy()).to(self.dtype)
        return BandInputs(
            mlps,
            DeviceGrid.of(grid, "cpu"),
            torch.addmm(mlps.constants(grid.cell), rows, mlps.first_weight),
            torch.from_numpy(self.scene.image),
            self.first,
            int(nearest.min()),
        )

    def dense(self) -> tuple[Tensor, Tensor | None]:
        """Canvas [n, W, 3] and logits [K, n * W], both NaN where nothing was written."""
        canvas = torch.full((*self.size, 3), NAN)
        classifier = self.scene.mlps.get("classifier")
        logits = None
        if classifier is not None:
            outputs = MlpWeights.of(classifier).outputs
            logits = torch.full((outputs, self.size[0] * self.size[1]), NAN)
        inputs, lightest = self.inputs(), len(self.scene.upsamplers) - 1
        is_apart = len(inputs.mlps.upsamplers) > lightest
        if logits is not None or not is_apart:
            dense(inputs, canvas, logits)
        if is_apart:
            ensemble(inputs, lightest, None, canvas)
        return canvas, logits

    def sparse(self, canvas: Tensor, labels: Labels, programs: int | None = None) -> None:
        """Every heavier upsampler over its own pixels of labels [n, W], in random order."""
        random = np.random.default_rng(0)
        for upsampler in range(len(self.scene.upsamplers) - 1):
            own = np.flatnonzero(labels.ravel() == upsampler).astype(np.int32)
            pixels = torch.full((labels.size,), -(2**31), dtype=torch.int32)
            pixels[: len(own)] = torch.from_numpy(random.permutation(own))
            count = torch.tensor([len(own)], dtype=torch.int32)
            inputs = self.inputs()
            if inputs.mlps.upsamplers[upsampler].is_usual:
                sparse(inputs, upsampler, pixels, count, canvas, programs)
            else:
                ensemble(inputs, upsampler, (pixels, count), canvas, programs)

    def expected_image(self, labels: Labels) -> Doubles:
        """[n, W, 3] for labels [n, W]."""
        whole = np.zeros(self.scene.grid.hr_size, dtype=np.uint8)
        whole[self.rows] = labels
        return self.scene.expected_image(whole).transpose(1, 2, 0)[self.rows]

    def expected_logits(self) -> Doubles:
        """[K, n * W]."""
        logits = self.scene.expected("classifier")[:, self.rows]
        return logits.reshape(len(logits), -1)

    def labels(self, kind: str = "random") -> Labels:
        return self.scene.assignment(kind)[self.rows]


def routing_buffers(upsamplers: int, pixels: int) -> RoutingBuffers:
    return RoutingBuffers(
        torch.empty(pixels, dtype=torch.uint8),
        torch.empty(pixels),
        torch.empty((upsamplers - 1, pixels), dtype=torch.int32),
        torch.zeros(upsamplers - 1, dtype=torch.int32),
        torch.zeros(1, dtype=torch.int32),
    )


def tensor(values: Floats) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values))
