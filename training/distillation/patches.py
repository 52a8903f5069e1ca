"""Computes what the training reads, once: patches, the features of a frozen backbone, the teacher's
answer and the original at drawn output pixels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from pcsr.errors import UsageError
from pcsr.metrics import bicubic_resize
from pcsr.runtime.geometry.grid import Grid
from pcsr.training.sources.photos import Photo

from .scenes import Random, draw_scene
from .teacher import Teacher, bilinear

AT_THE_LARGEST = 0.6  # of the patches are upscaled by the largest factor
WITHOUT_ORIGINAL = 0.3  # of the patches are pictures whose larger form the teacher alone knows
INSIDE = 0.85  # of the drawn pixels lie at least MARGIN input pixels inside
MARGIN = 2
MOST_BYTES = 8 * 2**30


@dataclass(frozen=True)
class Drawing:
    """Says what patches to draw."""

    count: int
    side: int
    """Of the input patch."""
    pixels: int
    """Output pixels of each that are trained on."""
    scales: tuple[float, float]
    """The least and the largest factor."""


@dataclass(frozen=True)
class Patches:
    """Holds N patches of S x S input pixels, with Q output pixels of each. Colours are RGB in [0,
    1], minus those of the bilinear upsample.
    """

    inputs: Tensor
    """[N, 3, S, S] float16 in [0, 1]: the patch; or [N, D, S, S]: features of a frozen backbone."""
    index: Tensor
    """[N, Q] int32: the nearest input pixel."""
    position: Tensor
    """[N, Q, 4] float32: offset to it, and cell."""
    answer: Tensor
    """[N, Q, 3] float16: the teacher's colours; the original's where it does not know the scale."""
    original: Tensor
    """[N, Q, 3] float16: the original's colours; the teacher's where there is no original."""


class PatchBatches(Dataset[tuple[Tensor, ...]]):
    """Gives batch i: inputs [B, D, S, S], index [B, Q], position [B, Q, 4], answer and original [B,
    Q, 3], as in `Patches`. A batch depends on the seed and its number alone.
    """

    def __init__(self, patches: Patches, batch: int, seed: Sequence[int]) -> None:
        self._patches = patches
        self._batch = batch
        self._seed = list(seed)

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        random = np.random.default_rng([*self._seed, index])
        drawn = torch.from_numpy(random.integers(len(self._patches.index), size=self._batch))
        p = self._patches
        return tuple(part[drawn] for part in (p.inputs, p.index, p.position, p.answer, p.original))


def draw_patches(
    photos: Sequence[Photo],
    drawing: Drawing,
    teacher: Teacher,
    frozen: Callable[[Tensor], Tensor] | None,
    seed: Sequence[int],
    say: Callable[[int], object],
) -> Patches:
    """Draws patches and has the teacher answer them.

    frozen: the backbone [B, 3, h, w] in [0, 1] -> [B, D, h, w] whose features are kept; None keeps
        the patches.
    say: is told how many are done.

    Raises:
        UsageError: no photo is as large as a patch, or they would take too much memory.
    """
    photos = [photo for photo in photos if min(photo.shape[:2]) >= drawing.side]
    if not photos:
        raise UsageError(f"no training photo is at least {drawing.side} px wide and high")
    made = []
    for number in range(drawing.count):
        random = np.random.default_rng([*seed, number])
        made.append(_patch(photos, drawing, teacher, frozen, random))
        _refuse_huge(made[0], drawing.count)
        say(number + 1)
    return Patches(*(torch.stack(parts) for parts in zip(*made, strict=True)))


def _patch(
    photos: Sequence[Photo],
    drawing: Drawing,
    teacher: Teacher,
    frozen: Callable[[Tensor], Tensor] | None,
    random: Random,
) -> tuple[Tensor, ...]:
    least, most = drawing.scales
    scale = most if random.random() < AT_THE_LARGEST else random.uniform(least, most)
    grid = Grid.make((drawing.side, drawing.side), scale)
    scene, lr = _scene(photos, grid, random, alone=teacher.knows(scale))
    drawn = torch.from_numpy(_drawn(grid, drawing.pixels, random))
    base = bilinear(lr, grid, drawn)
    original = None if scene is None else scene.flatten(1)[:, drawn].T - base
    answer = teacher.colours(lr, grid, drawn) - base if teacher.knows(scale) else original
    index, offset = grid.locate(drawn.numpy())
    cell = np.broadcast_to(grid.cell, offset.shape)
    with torch.no_grad():
        inputs = lr if frozen is None else frozen(lr[None])[0]
    return (
        inputs.half(),
        torch.from_numpy(index),
        torch.from_numpy(np.concatenate([offset, cell], axis=1)),
        _first(answer, original),
        _first(original, answer),
    )


def _first(colours: Tensor | None, other: Tensor | None) -> Tensor:
    found = other if colours is None else colours
    if found is None:
        raise ValueError("a patch has neither an original nor an answer")
    return found.half()


def _scene(
    photos: Sequence[Photo], grid: Grid, random: Random, alone: bool
) -> tuple[Tensor | None, Tensor]:
    """Draws an original [3, H, W], or none, and its input [3, h, w].

    alone: whether there may be none, since the teacher knows an answer.
    """
    side = grid.hr_size[0]
    fits = [photo for photo in photos if min(photo.shape[:2]) >= side]
    without = random.random() < WITHOUT_ORIGINAL
    if alone and (without or not fits):
        return None, _tensor(draw_scene(photos, random, grid.lr_size[0]))
    if not fits:
        raise UsageError(f"no training photo is at least {side} px wide and high")
    scene = draw_scene(fits, random, side)
    return _tensor(scene), _tensor(bicubic_resize(scene, *grid.lr_size))


def _drawn(grid: Grid, count: int, random: Random) -> NDArray[np.int64]:
    """Draws flat output pixels [Q], in random order; most of them lie inside a margin, since near
    the border the backbone sees its zero padding, as few pixels of a photo do.
    """
    order = random.permutation(grid.pixels)
    row, column = np.divmod(order, grid.hr_size[1])
    margin = round(MARGIN * grid.hr_size[0] / grid.lr_size[0])
    inside = np.minimum(row, column) >= margin
    inside &= np.maximum(row, column) < grid.hr_size[0] - margin
    inner, outer = order[inside], order[~inside]
    most = round(INSIDE * count)
    drawn = np.concatenate([inner[:most], outer, inner[most:]])[:count]
    return np.resize(drawn, count)  # over again where the patch has fewer


def _tensor(image: Photo) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1) / 255


def _refuse_huge(patch: tuple[Tensor, ...], count: int) -> None:
    needed = count * sum(part.numel() * part.element_size() for part in patch)
    if needed > MOST_BYTES:
        raise UsageError(
            f"{count} patches take {needed / 2**30:.1f} GiB; lower teacher.patches, inp_size or "
            "sample_q"
        )
