"""Gives each HR image its LR image: made by bicubic interpolation, or read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pcsr.calibration.images import read_rgb8
from pcsr.errors import ImageError, UsageError
from pcsr.images import find_images
from pcsr.metrics import Pixels, bicubic_resize, degrade
from pcsr.runtime.profiler.measuring.statistics import grouped
from pcsr.text import size_text

from .options import EvaluationOptions


@dataclass(frozen=True)
class Pairs:
    """Reads pairs of images at one scale."""

    scale: float
    max_pixels: int
    lr_files: Mapping[str, Sequence[Path]] | None
    """The given LR files by stem; None to make the LR images."""
    rounds: bool
    """Whether LR images that are made are rounded to 8 bits."""

    @classmethod
    def of(cls, options: EvaluationOptions, scale: float) -> "Pairs":
        """Finds the LR files that are named.

        Raises:
            UsageError: there are none, or they are to be unrounded.
        """
        rounds, lr_files = not options.unrounded_lr, None
        if options.lr is not None:
            if not rounds:
                raise UsageError(
                    "--unrounded-lr is for LR images that are made; leave out it or --lr"
                )
            found = find_images([options.lr], options.recursive)
            lr_files = grouped(found, lambda path: path.stem)
        return cls(scale, options.max_pixels, lr_files, rounds)

    @property
    def origin(self) -> str:
        """Says where LR images come from, as tables state it."""
        if self.lr_files is not None:
            return "LR from files"
        return f"LR by bicubic{', in 8 bits' if self.rounds else ', not rounded'}"

    def read(self, path: Path) -> tuple[Pixels, Pixels, tuple[str, ...]]:
        """Reads RGB uint8 [H,W,3], its LR image [h,w,3] with H = round(h * scale), uint8 or
        unrounded float32 nominally in [0, 1], and notes.

        Raises:
            ImageError: a file cannot be read, there is no LR file, or one of another size.
            UsageError: the image is smaller than one LR pixel.
        """
        hr, notes = read_rgb8(path, self.max_pixels)
        if self.lr_files is None:
            hr, lr = degrade(hr, self.scale)
            if not self.rounds:
                lr = bicubic_resize(hr.astype(np.float32) / 255, *lr.shape[:2])
            return hr, lr, notes
        lr_path = self._partner(path)
        lr, lr_notes = read_rgb8(lr_path, self.max_pixels)
        height, width = (round(side * self.scale) for side in lr.shape[:2])
        if hr.shape[:2] != (height, width):
            raise ImageError(
                f"{path} does not fit {lr_path}: expected {size_text((height, width))} pixels at "
                f"scale {self.scale:g}, found {size_text(hr.shape[:2])}; check --scale"
            )
        return hr, lr, notes + lr_notes

    def _partner(self, hr: Path) -> Path:
        stems = (f"{hr.stem}x{self.scale:g}", hr.stem)
        for stem in stems:
            match (self.lr_files or {}).get(stem, ()):
                case [path]:
                    return path
                case [path, other, *_]:
                    raise ImageError(f"two LR images for {hr}: {path} and {other}; keep one")
        raise ImageError(f"no LR image for {hr}: expected a file named {stems[0]} or {stems[1]}")
