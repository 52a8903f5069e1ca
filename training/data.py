"""Draws training patches. A batch depends on the seed and its number alone: runs can resume."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pcsr.errors import UsageError
from pcsr.images import find_images, read
from pcsr.metrics import bicubic_resize
from pcsr.runtime.layout import as_rgb8

Photo = NDArray[np.uint8]
HELD_OUT = ("coffee", "rocket")
PICTURES = ("astronaut", "chelsea", "stereo_motorcycle")  # drawn twice as often as the others
TRAINING = (
    *PICTURES, *PICTURES, "brick", "camera", "cell", "clock", "coins", "grass", "gravel",
    "hubble_deep_field", "immunohistochemistry", "moon", "page", "retina", "text",
)  # fmt: skip
PYRAMID = (1.0, 0.75, 0.5, 0.35)  # a smaller copy of a photo is sharper
INSIDE = 0.8  # of the drawn pixels, where a margin is set
AUGMENTS: dict[str, Callable[[Photo], Photo]] = {
    "hflip": np.fliplr,
    "vflip": np.flipud,
    "dflip": lambda patch: patch.swapaxes(0, 1),
    "bgr": lambda patch: patch[..., ::-1],
}
MAX_PIXELS = 2**27


@dataclass(frozen=True)
class Data:
    """Says what patches to train on."""

    photos: Path | None
    """This and the next are a folder, or None for the sample photos of scikit-image."""
    validation: Path | None
    scale: float
    least_scale: float
    """Of a range that a network learns from a teacher; else `scale` alone counts."""
    patch_px: tuple[int, ...]
    """Sides of the low-resolution patch, each for an equal part of a training stage."""
    pixels_per_patch: int | None
    """Output pixels drawn from each; None for all."""
    margin_px: int
    """Most of them lie at least this far (in low-resolution pixels) inside the patch."""
    augment: tuple[str, ...]
    batch: int
    workers: int


def load_photos(folder: Path | None, samples: Sequence[str]) -> list[Photo]:
    """Loads RGB uint8 photos [H, W, 3] of a folder, or scikit-image's sample photos of these names.

    Raises:
        UsageError: no such folder, or no image in it. ImageError: one of them cannot be read.
    """
    if folder is not None:
        return [as_rgb8(read(path, MAX_PIXELS).pixels) for path in find_images([folder], True)]
    from skimage import data

    photos = []
    for name in samples:
        found = getattr(data, name)()
        views = found[:2] if isinstance(found, tuple) else (found,)
        photos += [as_rgb8(view) for view in views]
    return photos


def training_photos(folder: Path | None) -> list[Photo]:
    """Loads the photos of a folder, or the sample photos not held out at each size of PYRAMID."""
    photos = load_photos(folder, TRAINING)
    if folder is not None:
        return photos
    return [
        bicubic_resize(photo, *(round(side * factor) for side in photo.shape[:2]))
        for photo in photos
        for factor in PYRAMID
    ]


class Batches(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Gives batch i of `total`: lr [B, 3, p, p] in [0, 1]; positions [Q] of the drawn output
    pixels, flat and the same for all patches; their colours [B, Q, 3].

    With several patch sizes, each serves an equal part of the batches, in the given order.
    """

    def __init__(
        self, photos: Sequence[Photo], data: Data, total: int, seed: Sequence[int]
    ) -> None:
        least = round(max(data.patch_px) * data.scale)
        self._photos = [photo for photo in photos if min(photo.shape[:2]) >= least]
        if not self._photos:
            raise UsageError(f"no training photo is at least {least} px wide and high")
        self._data = data
        self._total = total
        self._seed = list(seed)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        random = np.random.default_rng([*self._seed, index])
        lr_side = self._data.patch_px[index * len(self._data.patch_px) // self._total]
        side = round(lr_side * self._data.scale)
        patches = [self._patch(random, side) for _ in range(self._data.batch)]
        small = [bicubic_resize(patch, lr_side, lr_side) for patch in patches]
        drawn = self._draw(random, side)
        colours = np.stack(patches).reshape(len(patches), side**2, 3)[:, drawn]
        lr = torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2)
        return lr / 255, torch.from_numpy(drawn), torch.from_numpy(colours) / 255

    def _draw(self, random: np.random.Generator, side: int) -> NDArray[np.intp]:
        """Draws flat positions in a patch of side x side pixels. With a margin, four of five lie
        inside it: near the border the backbone sees its zero padding, as few pixels of a photo do.
        """
        order = random.permutation(side**2)
        if not self._data.margin_px:
            return order[: self._data.pixels_per_patch]
        margin = round(self._data.margin_px * self._data.scale)
        row, column = order // side, order % side
        inside = np.minimum(row, column) >= margin
        inside &= np.maximum(row, column) < side - margin
        count = self._data.pixels_per_patch or side**2
        inner, outer = order[inside], order[~inside]
        most = round(INSIDE * count)
        return np.concatenate([inner[:most], outer, inner[most:]])[:count]

    def _patch(self, random: np.random.Generator, side: int) -> Photo:
        photo = self._photos[random.integers(len(self._photos))]
        top, left = (int(random.integers(n - side + 1)) for n in photo.shape[:2])
        patch = photo[top : top + side, left : left + side]
        for name in self._data.augment:
            if random.random() < 0.5:
                patch = AUGMENTS[name](patch)
        return np.ascontiguousarray(patch)


def stream(
    batches: Dataset[Any], start: int, stop: int, workers: int
) -> Iterable[tuple[Tensor, ...]]:
    """Yields batches start … stop - 1 in order, made by `workers` processes (0: inline)."""
    order = range(start, stop)
    return DataLoader(batches, batch_size=None, sampler=order, num_workers=workers)
