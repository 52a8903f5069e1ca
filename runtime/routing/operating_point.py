"""What pcsr-calibrate operating-point wrote into a bundle: a curve of quality, presets, times."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pcsr.bundle import Bundle
from pcsr.errors import BundleError, UsageError

from .time_model import Key, TimeModel

CALIBRATION = "operating_point"
FORMAT = "pcsr-operating-point"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Point:
    """A measured way of routing. k or heavy_ratio is set. difficulty: above which a pixel is heavy,
    None for M > 2 and for a ratio. loss_db: mean loss of PSNR against all heavy.
    """

    k: float | None
    heavy_ratio: float | None
    difficulty: float | None
    heavy_share: float
    psnr_db: float
    loss_db: float
    worst_loss_db: float


@dataclass(frozen=True)
class OperatingPoint:
    """What the bundle holds: the curve, the presets made of it, and times by machine."""

    points: tuple[Point, ...]
    presets: Mapping[str, Point]
    times: tuple[TimeModel, ...]

    @classmethod
    def load(cls, bundle: Bundle) -> "OperatingPoint":
        """Raises UsageError where there is none, BundleError where it is damaged."""
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
                f"the operating point of {bundle.path} is damaged ({error}); run pcsr-calibrate "
                "operating-point again"
            ) from error

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> "OperatingPoint":
        """From its JSON. Raises KeyError, TypeError, ValueError or AttributeError."""
        if (data["format"], data["format_version"]) != (FORMAT, FORMAT_VERSION):
            raise ValueError(f"format {data['format']} {data['format_version']}")
        points = tuple(_point(point) for point in data["points"])
        if not any(point.k is not None and point.loss_db <= 0 for point in points):
            raise ValueError("no point without loss")
        return cls(
            points,
            {name: _point(point) for name, point in data["presets"].items()},
            tuple(TimeModel.of(entry) for entry in data["times"]),
        )

    def preset(self, name: str) -> float:
        """Its k. Raises UsageError for an unknown name."""
        if name not in self.presets:
            known = ", ".join(self.presets)
            raise UsageError(f"there is no preset '{name}' (there are: {known})")
        return self.presets[name].k or 0.0

    def lightest(self, max_loss_db: float) -> float:
        """The largest measured k that loses no more than this in the mean; all heavy loses 0."""
        by_k = [point for point in self.points if point.k is not None]
        return max(point.k or 0.0 for point in by_k if point.loss_db <= max_loss_db)

    def time_model(self, key: Key, bundle: Bundle) -> TimeModel:
        """Raises UsageError where none was measured for this machine and backend."""
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
    optional = {name: _number(data[name]) for name in ("k", "heavy_ratio", "difficulty")}
    measured = ("heavy_share", "psnr_db", "loss_db", "worst_loss_db")
    return Point(**optional, **{name: float(data[name]) for name in measured})  # type: ignore[arg-type]


def _number(value: Any) -> float | None:  # noqa: ANN401
    return None if value is None else float(value)
