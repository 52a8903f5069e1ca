"""Reads what pcsr-calibrate operating-point wrote into a bundle: a curve of quality, presets and
times.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pcsr.bundle import Bundle
from pcsr.errors import BundleError, UsageError
from pcsr.reading.json import number
from pcsr.text import shortened

from .request import LARGEST_K
from .time_model import Key, TimeModel

CALIBRATION = "operating_point"
FORMAT = "pcsr-operating-point"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Point:
    """One measured way of routing; k or heavy_ratio is set."""

    k: float | None
    heavy_ratio: float | None
    difficulty: float | None
    """The difficulty above which a pixel is heavy; None for M > 2 and for a ratio."""
    heavy_share: float
    """The mean share in [0, 1] of heavy pixels."""
    psnr_db: float
    loss_db: float
    """The mean loss of PSNR against all heavy."""
    worst_loss_db: float
    """The largest loss of any image."""


@dataclass(frozen=True)
class OperatingPoint:
    """A bundle's calibration of quality and time."""

    points: tuple[Point, ...]
    """The curve from all heavy to all light."""
    presets: Mapping[str, Point]
    times: tuple[TimeModel, ...]

    @classmethod
    def load(cls, bundle: Bundle) -> "OperatingPoint":
        """Reads it; raises UsageError where there is none, BundleError where it is damaged."""
        data = bundle.calibration(CALIBRATION)
        if data is None:
            raise UsageError(
                f"{bundle.path} has no operating point; run pcsr-calibrate operating-point "
                f"{bundle.path} IMAGES"
            )
        try:
            return cls.of(data)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BundleError(
                f"the operating point of {bundle.path} is damaged ({shortened(str(error))}); run "
                "pcsr-calibrate operating-point again"
            ) from error

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> "OperatingPoint":
        """Reads its JSON. Raises KeyError, TypeError, ValueError or AttributeError."""
        if (data["format"], data["format_version"]) != (FORMAT, FORMAT_VERSION):
            raise ValueError(f"format {data['format']!s:.40} {data['format_version']!s:.40}")
        points = tuple(_point(point) for point in data["points"])
        if not any(point.k is not None and point.loss_db <= 0 for point in points):
            raise ValueError("no point without loss")
        return cls(
            points,
            {name: _preset(name, point) for name, point in data["presets"].items()},
            tuple(TimeModel.of(entry) for entry in data["times"]),
        )

    def preset(self, name: str) -> float:
        """Gives a preset's k. Raises UsageError for an unknown name."""
        if name not in self.presets:
            known = ", ".join(self.presets)
            raise UsageError(f"there is no preset '{shortened(name, 40)}' (there are: {known})")
        return self.presets[name].k or 0.0

    def lightest(self, max_loss_db: float) -> float:
        """Gives the largest measured k that loses no more in the mean; all heavy loses 0."""
        by_k = [point for point in self.points if point.k is not None]
        return max(point.k or 0.0 for point in by_k if point.loss_db <= max_loss_db)

    def time_model(self, key: Key, bundle: Bundle) -> TimeModel:
        """Gives the model of a key; raises UsageError where none was measured for it."""
        for model in self.times:
            if model.key == key:
                return model
        known = "; ".join(str(model.key) for model in self.times) or "none"
        raise UsageError(
            f"{bundle.path} has no times for {key} (it has: {known}); run pcsr-calibrate "
            f"operating-point {bundle.path} IMAGES with the same device, backend, precision and "
            "threads"
        )


def _point(data: Mapping[str, Any]) -> Point:
    k, ratio, difficulty = (data[name] for name in ("k", "heavy_ratio", "difficulty"))
    if (k is None) == (ratio is None):
        raise ValueError("a point has k or heavy_ratio, and not both")
    measured = ("psnr_db", "loss_db", "worst_loss_db")
    return Point(
        k=None if k is None else number(k, -LARGEST_K, LARGEST_K),
        heavy_ratio=None if ratio is None else number(ratio, 0, 1),
        difficulty=None if difficulty is None else number(difficulty),
        heavy_share=number(data["heavy_share"], 0, 1),
        **{name: number(data[name]) for name in measured},
    )


def _preset(name: str, data: Mapping[str, Any]) -> Point:
    point = _point(data)
    if point.k is None:
        raise ValueError(f"preset {name:.80} has no k")
    return point
