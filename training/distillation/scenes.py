"""Draws pictures to distil from: parts of photos, in other sizes, colours and compositions.

A teacher has an answer to any picture, so that few photos go a long way. Of the photos, most of
scikit-image's are grey: without other colours, what is learned of them does not hold for others.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from pcsr.metrics import bicubic_resize
from pcsr.training.sources.photos import Photo

Picture = NDArray[np.float32]
"""[side, side, 3], RGB nominally in [0, 1]."""
Random = np.random.Generator
SHRINKING = (1.0, 1.0, 0.85, 0.7, 0.55, 0.4)
AS_THEY_ARE, TURNED = 0.25, 0.8  # cumulated shares of the ways to colour
CHANNELS_APART, COMPOSED = 0.12, 0.35  # cumulated shares of the compositions


def draw_scene(photos: Sequence[Photo], random: Random, side: int) -> Photo:
    """Draws a picture [side, side, 3] uint8."""

    def part() -> Picture:
        return coloured(_part(photos, random, side), random)

    picture = part()
    kind = random.random()
    if kind < CHANNELS_APART:
        channels = [_part(photos, random, side)[..., random.integers(3)] for _ in range(3)]
        picture = np.stack(channels, axis=-1)
    elif kind < COMPOSED:
        picture = _composed(picture, part, random, side)
    return np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)


def _part(photos: Sequence[Photo], random: Random, side: int) -> Picture:
    """Takes a part of a photo, shrunk by a random factor, flipped and turned."""
    photo = photos[int(random.integers(len(photos)))]
    least = min(photo.shape[:2])
    taken = min(max(side, round(side / random.choice(SHRINKING))), least)
    top, left = (int(random.integers(n - taken + 1)) for n in photo.shape[:2])
    part = photo[top : top + taken, left : left + taken]
    if taken != side:
        part = bicubic_resize(part, side, side)
    for axis in (0, 1):
        if random.random() < 0.5:
            part = np.flip(part, axis)
    if random.random() < 0.5:
        part = part.swapaxes(0, 1)
    out: Picture = np.asarray(part, dtype=np.float32) / np.float32(255)
    return out


def coloured(picture: Picture, random: Random) -> Picture:
    """Gives a picture other colours: in four ways, one of which leaves it as it is."""
    way = random.random()
    if way < AS_THEY_ARE:
        return picture[..., random.permutation(3)] if random.random() < 0.5 else picture
    grey = picture.mean(axis=-1, keepdims=True)
    if way >= TURNED:  # from one colour to another by brightness
        dark, bright = random.random((2, 3), dtype=np.float32)
        low, high = np.quantile(grey, (0.02, 0.98))
        share = np.clip((grey - low) / (high - low + 0.05), 0, 1)
        return np.asarray(dark + (bright - dark) * share, dtype=np.float32)
    turned = (picture - grey) @ _hue_rotation(random.uniform(0, 2 * np.pi)).T
    out = grey + turned * random.choice((0.5, 1, 1.5, 2, 3))
    if random.random() < 0.5:
        out = out * random.uniform(0.3, 1.3, 3) + random.uniform(-0.15, 0.15, 3)
    if random.random() < 0.2:
        out = 1 - out
    return np.asarray(out, dtype=np.float32)


def _hue_rotation(angle: float) -> NDArray[np.float64]:
    """Rotates RGB [3, 3] about the axis of greys (Rodrigues' formula)."""
    x = 1 / np.sqrt(3)
    cross = np.array([[0, -x, x], [x, 0, -x], [-x, x, 0]])
    rotation: NDArray[np.float64] = (
        np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    )
    return rotation


def _composed(picture: Picture, part: Callable[[], Picture], random: Random, side: int) -> Picture:
    """Puts another picture, or one colour, beside it, along a curved edge of random sharpness."""
    cells = int(random.integers(2, 9))
    noise = random.standard_normal((cells, cells, 1), dtype=np.float32)
    smooth = bicubic_resize(noise, side, side)
    mask = np.clip(smooth * side / random.uniform(1, 12) + 0.5, 0, 1)
    colour = random.random(3, dtype=np.float32)
    other = part() if random.random() < 0.5 else colour
    return np.asarray(mask * picture + (1 - mask) * other, dtype=np.float32)
