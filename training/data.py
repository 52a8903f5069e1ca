"""Draws training patches. A batch depends on the seed and its number alone: runs can resume."""

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pcsr.errors import PcsrError, UsageError
from pcsr.interrupts import interrupts_deferred
from pcsr.metrics import bicubic_resize

from .sources.pairs import PairSource
from .sources.photos import (
    DRAWS,
    FolderPhotos,
    Photo,
    PhotoSource,
    Source,
    image_files,
    no_photo,
    training_photos,
)
from .sources.sub_images import SIDE_PX, SubImages

INSIDE = 0.8  # of the drawn pixels, where a margin is set
AUGMENTS: dict[str, Callable[[Photo], Photo]] = {
    "hflip": np.fliplr,
    "vflip": np.flipud,
    "dflip": lambda patch: patch.swapaxes(0, 1),
    "bgr": lambda patch: patch[..., ::-1],
}


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
    """Sides of the low-resolution patch, each for an equal part of a training stage; none where
    whole pairs are taken."""
    pixels_per_patch: int | None
    """Output pixels drawn from each; None for all."""
    margin_px: int
    """Most of them lie at least this far (in low-resolution pixels) inside the patch."""
    augment: tuple[str, ...]
    batch: int
    workers: int
    sub_images: bool = False
    """Whether the published sub-images of the photos are trained on."""
    lr_photos: Path | None = None
    """This and the next are folders of low-resolution photos, where there are pairs."""
    lr_validation: Path | None = None


def open_source(data: Data) -> Source:
    """Opens what training patches are cut out of.

    Raises:
        UsageError: a folder, an image or a partner is missing, or none is large enough; ImageError:
            an image cannot be read.
    """
    sharing = max(1, data.workers)
    if data.photos is not None and data.lr_photos is not None:
        whole = not data.patch_px
        return PairSource(data.photos, data.lr_photos, data.scale, whole, sharing)
    least_px = round(max(data.patch_px) * data.scale)
    if data.photos is not None and data.sub_images:
        if least_px > SIDE_PX:
            raise UsageError(
                f"a patch of {least_px} px does not fit a sub-image of {SIDE_PX} px; lower "
                "train_dataset.wrapper.args.inp_size"
            )
        return SubImages(FolderPhotos(image_files(data.photos), sharing, True), data.scale)
    return PhotoSource(training_photos(data.photos, sharing), data.scale, least_px)


class Batches(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Gives batch i of `total`: lr [B, 3, p, p] in [0, 1]; positions [Q] of the drawn output
    pixels, flat and the same for all patches; their colours [B, Q, 3].

    With several patch sizes, each serves an equal part of the batches, in the given order.
    """

    def __init__(self, source: Source, data: Data, total: int, seed: Sequence[int]) -> None:
        self._source = source
        self._order = Order(len(source), seed) if source.in_epochs else None
        self._data = data
        self._total = total
        self._seed = list(seed)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        random = np.random.default_rng([*self._seed, index])
        sides, count = self._data.patch_px, self._data.batch
        lr_side = sides[index * len(sides) // self._total] if sides else None
        turns = range(index * count, (index + 1) * count)
        pairs = [self._pair(random, turn, lr_side) for turn in turns]
        hr, lr = (np.stack([pair[place] for pair in pairs]) for place in (0, 1))
        drawn = self._draw(random, hr.shape[1])
        colours = torch.from_numpy(hr.reshape(count, -1, 3)[:, drawn])
        return (
            torch.from_numpy(lr).permute(0, 3, 1, 2) / 255,
            torch.from_numpy(drawn),
            colours / 255,
        )

    def _pair(
        self, random: np.random.Generator, turn: int, lr_side: int | None
    ) -> tuple[Photo, Photo]:
        hr, lr = self._cut(random, turn, lr_side)
        for name in self._data.augment:
            if random.random() < 0.5:
                hr = AUGMENTS[name](hr)
                lr = None if lr is None else AUGMENTS[name](lr)
        hr = np.ascontiguousarray(hr)
        if lr is None:
            side = lr_side or round(len(hr) / self._data.scale)
            lr = bicubic_resize(hr, side, side)
        return hr, lr

    def _cut(
        self, random: np.random.Generator, turn: int, lr_side: int | None
    ) -> tuple[Photo, Photo | None]:
        for number in self._numbers(random, turn):
            found = self._source.cut(number, random, lr_side)
            if found is not None:
                return found
        raise no_photo(round((lr_side or 1) * self._data.scale))

    def _numbers(self, random: np.random.Generator, turn: int) -> Iterator[int]:
        """Yields what to cut from, the next ones where photos turn out to be too small: drawn anew,
        and after many of those one after another from anywhere, so that one that fits is found.
        """
        count = len(self._source)
        if self._order is not None:
            yield self._order[turn]
            return
        for _ in range(DRAWS):
            yield int(random.integers(count))
        first = int(random.integers(count))
        yield from ((first + step) % count for step in range(count))

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


class Order:
    """Shuffles `count` numbers anew for each epoch: that of turn n depends on the seed and n."""

    def __init__(self, count: int, seed: Sequence[int]) -> None:
        self._count = count
        self._seed = list(seed)
        self._epoch = -1
        self._shuffled: NDArray[np.int64] = np.empty(0, np.int64)

    def __getitem__(self, turn: int) -> int:
        epoch, place = divmod(turn, self._count)
        if epoch != self._epoch:
            seed = np.random.SeedSequence([*self._seed, epoch], spawn_key=(0,))
            self._shuffled = np.random.default_rng(seed).permutation(self._count)
            self._epoch = epoch
        return int(self._shuffled[place])


class _Caught(Dataset[Any]):
    """Gives errors of batches in place of them: a worker would add its traceback to the line."""

    def __init__(self, batches: Dataset[Any]) -> None:
        self._batches = batches

    def __getitem__(self, index: int) -> Any:  # noqa: ANN401
        try:
            return self._batches[index]
        except PcsrError as error:
            return error


def stream(
    batches: Dataset[Any], start: int, stop: int, workers: int, reads_files: bool = False
) -> Iterator[tuple[Tensor, ...]]:
    """Yields batches start … stop - 1 in order, made by `workers` processes (0: inline).

    reads_files: whether batches read images; libvips hangs in a process forked from one that has
        used it, so that workers are spawned then.

    Raises:
        PcsrError: an image cannot be read, or does not fit.
    """
    order = range(start, stop)
    loader = DataLoader(
        _Caught(batches),
        batch_size=None,
        sampler=order,
        num_workers=workers,
        multiprocessing_context="spawn" if workers and reads_files else None,
    )
    with _interrupts_blocked() if workers else nullcontext():
        made = iter(loader)
    for batch in made:
        if isinstance(batch, PcsrError):
            raise batch
        yield tuple(batch)


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Starts processes that do not hear Ctrl-C, which ends this one, and it them: while they import
    they would answer with a traceback. Here it waits.
    """
    resource_tracker.ensure_running()  # which unblocks it when it starts
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with interrupts_deferred():  # the system may give it to another thread
            yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
