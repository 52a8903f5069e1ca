"""Frames that change, and results that are to be the same."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcsr import Result, Upscaler

Pixels = NDArray[Any]
SHAPE = (61, 83, 3)


def still(
    shape: tuple[int, ...] = SHAPE, dtype: type[np.generic] = np.uint8, seed: int = 0
) -> Pixels:
    """A frame with flat, smooth and noisy places, so that pixels are routed differently."""
    random = np.random.default_rng((seed, *shape))
    place = np.linspace(0, 1, shape[1]).reshape(1, -1, *(1,) * (len(shape) - 2))
    values = np.clip(place + place**3 * random.normal(0, 0.4, shape), 0, 1)
    values[: shape[0] // 4] = 0.5
    if dtype is np.float32:
        return values.astype(np.float32)
    peak = {"uint8": 255, "uint16": 65535}[np.dtype(dtype).name]
    made: Pixels = (values * peak).astype(dtype)
    return made


def changed(frame: Pixels, rows: slice, columns: slice, seed: int = 0) -> Pixels:
    """The frame with other pixels in a rectangle."""
    after = frame.copy()
    after[rows, columns] = still(frame.shape, frame.dtype.type, seed + 1000)[::-1][rows, columns]
    after[rows, columns][0, 0] = 0
    return after


def assert_same(found: Result, expected: Result) -> None:
    """Bit for bit, the figures too."""
    for name in ("image", "assignment", "difficulty"):
        one, other = getattr(found, name), getattr(expected, name)
        assert (one is None) == (other is None)
        if one is not None:
            assert one.dtype == other.dtype
            assert one.shape == other.shape
            assert one.tobytes() == other.tobytes(), name
    for name in ("pixels_per_upsampler", "threshold", "lr_size", "hr_size"):
        assert getattr(found.stats, name) == getattr(expected.stats, name), name


def shares(
    upscaler: Upscaler,
    clip: list[Pixels],
    scale: float | None = None,
    **options: Any,  # noqa: ANN401
) -> list[float]:
    """Compares each frame of a sequence with the frame alone; gives how much of it was reused."""
    found = []
    with upscaler.sequence(scale, **options) as frames:
        for frame in clip:
            result = frames(frame)
            assert_same(result, upscaler(frame, scale, **options))
            found.append(result.stats.reused_share)
    return found
