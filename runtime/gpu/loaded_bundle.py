"""A bundle on a device: what runs its graphs, and what is done behind the backbone."""

import importlib.util
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from pcsr.bundle import Bundle
from pcsr.errors import BackendError, UsageError
from pcsr.runtime.geometry.tiling import Tile, fitting
from pcsr.runtime.mlps import MlpWeights

from .passes import Passes
from .row_graph_passes import RowGraphPasses
from .runners.protocol import DeviceRunner

KINDS = ("auto", "fused", "graphs")


@dataclass(frozen=True)
class LoadedBundle:
    """A PCSR bundle that is opened with a runner and with passes."""

    bundle: Bundle
    runner: DeviceRunner
    passes: Passes

    @property
    def count(self) -> int:
        """M, the number of upsamplers."""
        return self.bundle.upsamplers

    @property
    def neighbours(self) -> int:
        """The most input pixels that an output pixel is made from."""
        return max(upsampler.neighbours for upsampler in self.bundle.manifest.model.upsamplers)

    def encode(self, image: Tensor, tile_px: int | None) -> Tensor:
        """Runs the backbone on an image [1, 3, h, w], in tiles where runner or tile_px want that:
        gives features [D, h, w].
        """
        size = (image.shape[2], image.shape[3])
        tiles = self.tiles(size, tile_px)
        if len(tiles) == 1:
            return self.runner.image(image)[0]
        features: Tensor | None = None
        for tile in tiles:
            crop = image[:, :, *tile.crop].contiguous()
            part = self.runner.image(crop)[0][:, *tile.inner]
            if features is None:
                features = _like(part, size)
            features[:, *tile.core] = part
        assert features is not None
        return features

    def tiles(self, size: tuple[int, int], tile_px: int | None) -> list[Tile]:
        """Cuts an image of this (height, width) for the backbone, as `tiles_of`."""
        return tiles_of(self.bundle, self.runner, size, tile_px)


def tiles_of(
    bundle: Bundle, runner: DeviceRunner, size: tuple[int, int], tile_px: int | None
) -> list[Tile]:
    """Cuts an image of this (height, width) for the graph that takes it.

    Args:
        tile_px: the side of a tile's core; None: as large as the runner takes them.

    Raises:
        UsageError: it is too large for the runner, and the network cannot be tiled.
    """
    model, limit = bundle.manifest.model, runner.image_limit
    halo = model.receptive_radius_px
    if tile_px is not None and halo is not None:
        side = tile_px + 2 * halo
        limit = (side, side) if limit is None else (min(side, limit[0]), min(side, limit[1]))
    return fitting(size, halo, limit, runner.image_least, model.size_multiple)


def make_passes(
    kind: str, runner: DeviceRunner, precision: str, mlps: Mapping[str, MlpWeights]
) -> Passes:
    """Makes the passes of a kind: `fused` (Triton kernels), `graphs` (the bundle's own graphs), or
    `auto`, which is fused on a GPU where Triton is installed and takes the bundle's MLPs.

    Raises:
        UsageError: another kind.
        BackendError: fused was asked for and Triton or the GPU is not there, or the MLPs are wider
            than what was proved on a GPU.
    """
    if kind not in KINDS:
        raise UsageError(f"passes must be one of {', '.join(KINDS)}, found '{kind}'")
    has_triton = importlib.util.find_spec("triton") is not None
    is_auto = kind == "auto"
    if is_auto:
        kind = "fused" if has_triton and runner.device.type == "cuda" else "graphs"
    if kind == "graphs":
        return RowGraphPasses(runner, mlps)
    if not has_triton:
        raise BackendError(
            "the fused kernels need Triton, which is not installed; run pip install triton, or "
            "choose the passes 'graphs'"
        )
    if runner.device.type != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
        raise BackendError(
            f"the fused kernels run on a GPU, not on '{runner.device}'; choose the passes 'graphs'"
        )
    from .fused_passes import FusedPasses

    try:
        return FusedPasses(runner.device, precision, mlps)
    except BackendError as error:
        if not is_auto:
            raise
        logging.getLogger(__name__).warning("the slower passes 'graphs' run: %s", error)
        return RowGraphPasses(runner, mlps)


def _like(part: Tensor, size: tuple[int, int]) -> Tensor:
    """Takes memory [D, h, w] as features come from the runner: the same dtype, order and device."""
    if part.stride(0) == 1:
        return part.new_empty(*size, part.shape[0]).permute(2, 0, 1)
    return part.new_empty(part.shape[0], *size)
