"""Bundles with an operating point that was made by hand."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pcsr.amend import commit, new_folder, with_calibration
from pcsr.runtime.routing.operating_point import FORMAT, FORMAT_VERSION, Point
from pcsr.runtime.routing.time_model import Coefficients, TimeModel
from pcsr.runtime.upscaler import Upscaler

PRESETS = {"quality": 0.5, "balanced": 2.0, "fast": 4.0}
COEFFICIENTS = Coefficients(1.0, 500.0, 20.0, 400.0, 100.0)


def point(k: float | None, loss_db: float, ratio: float | None = None) -> Point:
    return Point(k, ratio, 0.5, 0.5, 30 - loss_db, loss_db, 2 * loss_db)


def curve() -> tuple[Point, ...]:
    losses = {-1e6: 0.0, 0.0: 0.004, 0.5: 0.01, 2.0: 0.05, 4.0: 0.2, 1e6: 1.0}
    return (*(point(k, loss) for k, loss in losses.items()), point(None, 0.03, 0.3))


def calibrated(bundle: Path, path: Path, models: Sequence[TimeModel] | None = None) -> Path:
    """A copy of a bundle with a curve, presets and times; by default those of this machine."""
    shutil.copytree(bundle, path)
    if models is None:
        models = [TimeModel(Upscaler(bundle).time_key(), COEFFICIENTS, ((1000.0, 1.0),), 1.0)]
    data: dict[str, Any] = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "points": [asdict(one) for one in curve()],
        "presets": {name: asdict(point(k, 0.01)) for name, k in PRESETS.items()},
        "times": [asdict(model) for model in models],
    }
    return write(path, data)


def write(path: Path, data: Mapping[str, Any]) -> Path:
    with new_folder(path, "operating-point") as folder:
        (folder.path / "operating-point.json").write_text(json.dumps(data))
        file = folder.file("operating-point.json")
        commit(path, lambda manifest: with_calibration(manifest, "operating_point", file))
    return path


def slower(model: TimeModel, times: float) -> TimeModel:
    """A machine on which everything takes so many times longer."""
    values = {name: times * value for name, value in asdict(model.coefficients).items()}
    return replace(model, coefficients=Coefficients(**values))
