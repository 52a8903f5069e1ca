"""Cuts images into bands and tiles that fit into memory."""

import math
from functools import lru_cache

from pcsr.manifest import Model
from pcsr.runtime.geometry.grid import Grid
from pcsr.runtime.geometry.tiling import Bands, least_work_bands, square_bands
from pcsr.runtime.machine import available_bytes

from .pipeline import ARENA_GROWTH

WORKING_BYTES = 900 * 2**20  # of a backbone tile and what is kept for the second pass together
SMALL_BYTES = 64 * 2**20  # of a backbone tile: nobody is asked whether so much is left
TILE_BYTES, LEAST_TILE_BYTES = 640 * 2**20, 256 * 2**20
OUTPUT_PIXELS_PER_BAND = 2**23  # 17 bytes each until they are finished
FEATURE_BYTES_PER_BAND = 384 * 2**20
KEPT_PLANS = 8

kept_bands = lru_cache(KEPT_PLANS)(least_work_bands)


class BandPlanner:
    """Plans the bands of images for one network.

    tile_px: the side of square tiles; None takes what memory has room for.
    """

    def __init__(self, model: Model, tile_px: int | None = None) -> None:
        self.has_sides = any(upsampler.neighbours == 4 for upsampler in model.upsamplers)
        self._halo_px, self._depth = model.receptive_radius_px, model.feature_width
        self._working_bytes_per_px = model.working_bytes_per_px
        self._tile_px = tile_px
        self._small: dict[object, tuple[Bands, bool]] = {}

    def reach_px(self, grid: Grid) -> int:
        """Counts the rows that upsamplers read above or below the nearest one."""
        return grid.reach_px if self.has_sides else 0

    def halo_px(self, grid: Grid) -> int | None:
        """Counts the input rows around a band that its features and upsamplers depend on."""
        return None if self._halo_px is None else self._halo_px + self.reach_px(grid)

    def kept_bytes(self, grid: Grid) -> int:
        """Counts the bytes of what an image keeps for the second pass: features and logits."""
        return 4 * (self._depth * math.prod(grid.lr_size) + grid.pixels)

    def plan(self, grid: Grid, two_passes: bool, part: slice | None = None) -> tuple[Bands, bool]:
        """Cuts an image, or part of its rows, into bands; the flag: whether features are held for
        the second pass.
        """
        if part is not None or self._needed_bytes(grid.lr_size) > min(SMALL_BYTES, WORKING_BYTES):
            return self._planned(grid, two_passes, part)
        key = (grid.lr_size, grid.hr_size, two_passes)
        found = self._small.get(key)
        if found is None:
            found = self._planned(grid, two_passes)
            if len(self._small) >= KEPT_PLANS:
                self._small.clear()
            self._small[key] = found
        return found

    def _needed_bytes(self, size: tuple[int, int]) -> float:
        return ARENA_GROWTH * self._working_bytes_per_px * math.prod(size)

    def _planned(
        self, grid: Grid, two_passes: bool, part: slice | None = None
    ) -> tuple[Bands, bool]:
        size, halo_px = grid.lr_size, self.halo_px(grid)
        kept_bytes = self.kept_bytes(grid)
        keeps = two_passes and kept_bytes + LEAST_TILE_BYTES <= WORKING_BYTES
        if self._tile_px is not None:
            return square_bands(size, halo_px, self._tile_px, part=part), keeps
        budget = WORKING_BYTES
        if self._needed_bytes(size) > min(SMALL_BYTES, budget):
            budget = min(budget, available_bytes() // 2)
        crop_pixels = self.crop_pixels(budget, keeps * kept_bytes)
        band_pixels = min(
            OUTPUT_PIXELS_PER_BAND * math.prod(size) // grid.pixels,
            FEATURE_BYTES_PER_BAND // (4 * self._depth),
        )
        limits = (size, halo_px, crop_pixels, band_pixels)
        if part is None:
            return kept_bands(*limits), keeps
        return least_work_bands(*limits, part=part), keeps

    def crop_pixels(self, budget: int | None = None, kept_bytes: int = 0) -> int:
        """Counts the input pixels of a tile, halo included, that a budget of memory has room for
        beside what is kept. None takes what may be used now.
        """
        if budget is None:
            budget = min(WORKING_BYTES, available_bytes() // 2)
        left_bytes = max(budget - kept_bytes, min(LEAST_TILE_BYTES, budget))
        tile_bytes = min(left_bytes, TILE_BYTES)
        return int(tile_bytes / (ARENA_GROWTH * self._working_bytes_per_px))
