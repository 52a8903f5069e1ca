"""Comparisons that say max, mean and the share of pixels routed differently when they fail."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests import tolerances

from . import reference

Mask = NDArray[np.bool_]


def rerouted_limit(pixels: int) -> int:
    """How many of an image's pixels may be routed differently."""
    return max(tolerances.REROUTED_PX, int(tolerances.REROUTED_SHARE * pixels))


def assert_routed_alike(
    found: NDArray[Any], expected: NDArray[Any], limit: int | None = None
) -> Mask:
    """Two routing maps [H, W] agree up to the tolerance; returns where they do."""
    assert found.shape == expected.shape
    same: Mask = found == expected
    different = int((~same).sum())
    allowed = rerouted_limit(same.size) if limit is None else limit
    assert different <= allowed, (
        f"{different} of {same.size} pixels ({different / same.size:.3%}) are routed differently, "
        f"allowed {allowed}"
    )
    return same


def assert_images_agree(
    found: NDArray[Any],
    expected: NDArray[Any],
    same: Mask,
    tolerance: float = tolerances.IMAGE_FP32,
) -> None:
    """Two images [H, W, 3] agree wherever all of a pixel's 3x3 neighbourhood is routed alike."""
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    where = same if same.all() else reference.neighbourhoods_agree(same)
    gap = np.abs(found.astype(np.float64) - expected)
    worst = float(gap[where].max(initial=0.0))
    assert worst <= tolerance, (
        f"max {worst:.2e} where routed alike (allowed {tolerance:.0e}), mean {gap.mean():.2e}, "
        f"{(~same).mean():.3%} of the pixels routed differently"
    )


def assert_difficulties_agree(found: NDArray[Any], expected: NDArray[Any]) -> None:
    """Two maps [H, W] of the probability of the heavier half agree."""
    gap = np.abs(found.astype(np.float64) - expected)
    worst, mean = float(gap.max()), float(gap.mean())
    assert worst <= tolerances.DIFFICULTY, f"max {worst:.2e}, mean {mean:.2e}"
    assert mean <= tolerances.MEAN_DIFFICULTY, f"max {worst:.2e}, mean {mean:.2e}"


def psnr_db(image: NDArray[Any], other: NDArray[Any]) -> float:
    """Of two images in [0, 1], both clipped."""
    gap = np.clip(image, 0, 1).astype(np.float64) - np.clip(other, 0, 1)
    return float(-10 * np.log10(np.square(gap).mean()))
