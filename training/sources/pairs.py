"""Pairs photos with their low-resolution forms, file by file."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pcsr.errors import UsageError
from pcsr.images import find_images
from pcsr.metrics import degrade

from .photos import FolderPhotos, Photo, load_photos, read_photo


class PairSource:
    """Cuts patches out of pairs: at a random place of both, or whole ones, all of one size.

    Args:
        originals, inputs: folders of the photos and of their low-resolution forms.
        scale: a whole number.
        whole: whether pairs are taken whole; else those smaller than a patch are refused.
        sharing: how many processes cut patches at a time.

    Raises:
        UsageError: a partner is missing, or sizes do not fit; names the file.
    """

    in_epochs = True
    notes: Sequence[str] = ()

    def __init__(
        self, originals: Path, inputs: Path, scale: float, whole: bool, sharing: int = 1
    ) -> None:
        if scale != int(scale):
            raise UsageError(
                f"pairs are cut at a whole scale, found {scale:g}; leave out the pairs"
            )
        self._scale = int(scale)
        self._names = matched(originals, inputs, scale)
        self._hr, self._lr = (
            FolderPhotos([names[place] for names in self._names], 2 * sharing) for place in (0, 1)
        )
        self.reads_files = self._hr.reads_files or self._lr.reads_files
        if self.reads_files:  # by workers that are started anew, which held photos would travel to
            self._hr.read_as_drawn()
            self._lr.read_as_drawn()
        self._check_sizes()
        self._whole = self._pair(0)[1].shape[:2] if whole else None

    def __len__(self) -> int:
        return len(self._names)

    def cut(
        self, number: int, random: np.random.Generator, lr_side: int | None
    ) -> tuple[Photo, Photo | None] | None:
        """Cuts as `Source.cut` does.

        Raises:
            UsageError: the pair does not fit the scale or the patch, or is not square or not of the
                size of the first one where it is taken whole; names it.
        """
        hr, lr = self._pair(number)
        if self._whole is not None:
            self._check_whole(number, lr)
            return hr, lr
        side = lr_side or 0
        if min(lr.shape[:2]) < side:
            raise UsageError(
                f"{self._names[number][1]} of {_size(lr)} px is smaller than inp_size {side}; "
                "leave it out, or lower train_dataset.wrapper.args.inp_size"
            )
        top, left = (int(random.integers(n - side + 1)) for n in lr.shape[:2])
        s = self._scale
        cut = hr[top * s : (top + side) * s, left * s : (left + side) * s]
        return cut, lr[top : top + side, left : left + side]

    def _pair(self, number: int) -> tuple[Photo, Photo]:
        hr, lr = self._hr[number], self._lr[number]
        check_pair(self._names[number], hr.shape[:2], lr.shape[:2], self._scale)
        return hr, lr

    def _check_sizes(self) -> None:
        if self._hr.sizes is not None and self._lr.sizes is not None:
            for names, hr, lr in zip(self._names, self._hr.sizes, self._lr.sizes, strict=True):
                check_pair(names, hr, lr, self._scale)

    def _check_whole(self, number: int, lr: Photo) -> None:
        height, width = self._whole or (0, 0)
        if lr.shape[:2] != (height, width) or height != width:
            raise UsageError(
                f"whole pairs must be square and of one size: {self._names[number][1]} has "
                f"{_size(lr)} px{_first(lr, height, width)}; set "
                "train_dataset.wrapper.args.inp_size to cut patches out of them"
            )


def _first(lr: Photo, height: int, width: int) -> str:
    return "" if lr.shape[:2] == (height, width) else f", the first one {width}x{height}"


def matched(originals: Path, inputs: Path, scale: float) -> list[tuple[str, str]]:
    """Matches two folders by the names of their images: 0801.png with 0801.png or 0801x4.png.

    Raises:
        UsageError: one has no partner, or two of a folder have one name but for their suffix.
    """
    found = [_by_name(folder) for folder in (originals, inputs)]
    pairs = []
    for name, path in found[0].items():
        partner = found[1].pop(name, None) or found[1].pop(f"{name}x{scale:g}", None)
        if partner is None:
            raise UsageError(
                f"{path} has no partner: expected {name} or {name}x{scale:g} in {inputs}; add it, "
                "or leave both out"
            )
        pairs.append((path, partner))
    if found[1]:
        raise UsageError(
            f"{next(iter(found[1].values()))} has no partner in {originals}; add it, or leave both "
            "out"
        )
    return pairs


def validation_pairs(
    originals: Path | None, inputs: Path | None, scale: float, samples: Sequence[str]
) -> list[tuple[Photo, Photo]]:
    """Gives (original, low-resolution) photos: of two folders, or of one (None: scikit-image's
    samples of these names) and shrunk by bicubic.
    """
    if originals is None or inputs is None:
        return [degrade(photo, scale) for photo in load_photos(originals, samples)]
    names = matched(originals, inputs, scale)
    pairs = [(read_photo(hr), read_photo(lr)) for hr, lr in names]
    for files, (hr, lr) in zip(names, pairs, strict=True):
        check_pair(files, hr.shape[:2], lr.shape[:2], scale)
    return pairs


def check_pair(
    names: tuple[str, str], hr: tuple[int, ...], lr: tuple[int, ...], scale: float
) -> None:
    """Raises UsageError where an original (height, width) is not `scale` times as large."""
    height, width = (round(side * scale) for side in lr)
    if hr != (height, width):
        raise UsageError(
            f"{names[0]} has {hr[1]}x{hr[0]} px; expected {width}x{height}, {scale:g} times those "
            f"of {names[1]}"
        )


def _by_name(folder: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for path, below in find_images([folder], True).items():
        other = found.setdefault(below.with_suffix("").as_posix(), str(path))
        if other != str(path):
            raise UsageError(f"{other} and {path} have one name; leave out one of them")
    return found


def _size(photo: Photo) -> str:
    return f"{photo.shape[1]}x{photo.shape[0]}"
