"""Pictures to evaluate on, the command, and what it finds."""

from pathlib import Path
from typing import Any

import numpy as np
from click.testing import CliRunner, Result
from numpy.typing import NDArray

from pcsr.calibration.evaluation.cli import main
from pcsr.calibration.evaluation.report import Score
from pcsr.images import Picture, write
from pcsr.metrics import bicubic_resize

Array = NDArray[Any]


def smooth(height: int, width: int, seed: int = 0) -> Array:
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    return bicubic_resize(coarse, height, width)


def save(pixels: Array, path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    write(Picture(pixels), path)
    return path


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def figures(scores: tuple[Score, ...]) -> list[tuple[Any, ...]]:
    """All but the names and the time."""
    left_out = ("image", "network", "time_ms")
    return [tuple(v for k, v in vars(score).items() if k not in left_out) for score in scores]
