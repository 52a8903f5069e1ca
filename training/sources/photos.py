"""Reads photos: scikit-image's samples, and folders of any size, held in memory as far as they fit.

Photos are RGB uint8 [H, W, 3].
"""

import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pcsr.errors import UsageError
from pcsr.images import find_images, read
from pcsr.metrics import bicubic_resize
from pcsr.runtime.layout import as_rgb8
from pcsr.runtime.machine import available_bytes

Photo = NDArray[np.uint8]
HELD_OUT = ("coffee", "rocket")
PICTURES = ("astronaut", "chelsea", "stereo_motorcycle")  # drawn twice as often as the others
TRAINING = (
    *PICTURES, *PICTURES, "brick", "camera", "cell", "clock", "coins", "grass", "gravel",
    "hubble_deep_field", "immunohistochemistry", "moon", "page", "retina", "text",
)  # fmt: skip
PYRAMID = (1.0, 0.75, 0.5, 0.35)  # a smaller copy of a photo is sharper
MAX_PIXELS = 2**27
MOST_LOOKED_THROUGH = 4096
"""A folder of more files is read as they are drawn, not when a run starts."""
MEMORY_SHARE = 0.6
"""Of what is free: for the photos of a folder, or for those that were read last."""
DRAWS = 64
"""So many photos smaller than a patch are drawn in a row before all are looked through."""


class Photos(Protocol):
    """Photos by number."""

    @property
    def sizes(self) -> Sequence[tuple[int, int]] | None:
        """(height, width) of each; None where they are not known before they are read."""

    @property
    def reads_files(self) -> bool:
        """Whether a file is read when a photo is asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int) -> Photo: ...


class Source(Protocol):
    """What training patches are cut out of."""

    in_epochs: bool
    """Whether all of it comes once before any comes again; else each is drawn at random."""

    @property
    def reads_files(self) -> bool:
        """Whether files are read when patches are cut."""

    @property
    def notes(self) -> Sequence[str]:
        """What a user should know of it."""

    def __len__(self) -> int: ...

    def cut(
        self, number: int, random: np.random.Generator, lr_side: int | None
    ) -> tuple[Photo, Photo | None] | None:
        """Cuts a square patch at random: the original [S, S, 3], and its low-resolution form
        [lr_side, lr_side, 3] where there is one. lr_side: None takes all of it.

        Returns None where photo `number` is smaller than that.
        """


class HeldPhotos:
    """Photos that are in memory."""

    reads_files = False

    def __init__(self, photos: Sequence[Photo]) -> None:
        self._photos = photos
        self.sizes = [photo.shape[:2] for photo in photos]

    def __len__(self) -> int:
        return len(self._photos)

    def __getitem__(self, number: int) -> Photo:
        return self._photos[number]


class FolderPhotos:
    """Photos of files. Up to MOST_LOOKED_THROUGH are read at the beginning, and held where they all
    fit MEMORY_SHARE of the free memory; else they are read when they are asked for, and as many of
    the last ones kept.

    Args:
        paths: of the files.
        sharing: how many such objects read files at a time, for each process that torchrun began
            on this machine.
        look_through: reads all once, however many.

    Raises:
        ImageError: a file cannot be read, here or when it is asked for; names it.
    """

    def __init__(self, paths: Sequence[str], sharing: int = 1, look_through: bool = False) -> None:
        self._paths = paths
        self._held: list[Photo] = []
        self._last: OrderedDict[int, Photo] = OrderedDict()
        ranks = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        most_bytes = int(available_bytes() * MEMORY_SHARE) // ranks
        self._most_bytes = most_bytes // sharing
        self._last_bytes = 0
        self.sizes: list[tuple[int, int]] | None = None
        if look_through or len(paths) <= MOST_LOOKED_THROUGH:
            self.sizes = list(self._look_through(most_bytes))

    @property
    def reads_files(self) -> bool:
        """Whether a file is read when a photo is asked for."""
        return not self._held

    def read_as_drawn(self) -> None:
        """Forgets the photos that are held."""
        self._held.clear()

    def _look_through(self, most_bytes: int) -> Iterator[tuple[int, int]]:
        for path in self._paths:
            photo = read_photo(path)
            most_bytes -= photo.nbytes
            if most_bytes >= 0:
                self._held.append(photo)
            else:
                self._held.clear()
            yield photo.shape[:2]

    def __getstate__(self) -> dict[str, Any]:
        """Leaves out the last photos: they do not travel to workers."""
        return {**vars(self), "_last": OrderedDict(), "_last_bytes": 0}

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, number: int) -> Photo:
        if self._held:
            return self._held[number]
        photo = self._last.pop(number, None)
        if photo is None:
            photo = read_photo(self._paths[number])
            self._last_bytes += photo.nbytes
        self._last[number] = photo
        while self._last_bytes > self._most_bytes and len(self._last) > 1:
            self._last_bytes -= self._last.popitem(last=False)[1].nbytes
        return photo


class PhotoSource:
    """Cuts patches at random places of photos."""

    in_epochs = False
    notes: Sequence[str] = ()

    def __init__(self, photos: Photos, scale: float, least_px: int) -> None:
        self._photos = photos
        self.reads_files = photos.reads_files
        self._scale = scale
        sizes = photos.sizes
        self._fitting = (
            None
            if sizes is None
            else [number for number, size in enumerate(sizes) if min(size) >= least_px]
        )
        if not len(self):
            raise no_photo(least_px)

    def __len__(self) -> int:
        return len(self._photos if self._fitting is None else self._fitting)

    def cut(
        self, number: int, random: np.random.Generator, lr_side: int | None
    ) -> tuple[Photo, Photo | None] | None:
        """Cuts as `Source.cut` does."""
        photo = self._photos[number if self._fitting is None else self._fitting[number]]
        side = min(photo.shape[:2]) if lr_side is None else round(lr_side * self._scale)
        if min(photo.shape[:2]) < side:
            return None
        top, left = (int(random.integers(n - side + 1)) for n in photo.shape[:2])
        return photo[top : top + side, left : left + side], None


def no_photo(least_px: int) -> UsageError:
    """Makes the error of a source without a photo that is large enough."""
    return UsageError(f"no training photo is at least {least_px} px wide and high")


def load_photos(folder: Path | None, samples: Sequence[str]) -> list[Photo]:
    """Loads the photos of a folder, or scikit-image's sample photos of these names.

    Raises:
        UsageError: no such folder, or no image in it. ImageError: one of them cannot be read.
    """
    if folder is not None:
        return [read_photo(path) for path in image_files(folder)]
    from skimage import data

    photos = []
    for name in samples:
        found = getattr(data, name)()
        views = found[:2] if isinstance(found, tuple) else (found,)
        photos += [as_rgb8(view) for view in views]
    return photos


def training_photos(folder: Path | None, processes: int = 1) -> Photos:
    """Gives the photos of a folder, or the sample photos not held out at each size of PYRAMID.

    processes: how many of them draw from a folder at a time.
    """
    if folder is not None:
        return FolderPhotos(image_files(folder), processes)
    photos = load_photos(None, TRAINING)
    return HeldPhotos(
        [
            bicubic_resize(photo, *(round(side * factor) for side in photo.shape[:2]))
            for photo in photos
            for factor in PYRAMID
        ]
    )


def image_files(folder: Path) -> list[str]:
    """Lists the images of a folder and those below it, sorted, as text: there may be millions.

    Raises:
        UsageError: no such folder, or no image in it.
    """
    return [str(path) for path in find_images([folder], True)]


def read_photo(path: str) -> Photo:
    """Reads an image as a photo; raises ImageError where that cannot be done."""
    return as_rgb8(read(Path(path), MAX_PIXELS).pixels)
