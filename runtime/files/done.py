"""What a job has come to."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from pcsr.errors import PcsrError
from pcsr.runtime.result import Stats
from pcsr.text import one_line

from .jobs import Job
from .video import VideoStats


@dataclass(frozen=True)
class Done:
    """A finished job."""

    job: Job
    stats: Stats | VideoStats | None
    """Its figures; None if it failed or was skipped."""
    error: PcsrError | None
    image_warnings: tuple[str, ...] = ()
    """What was left out of an image, or out of its file."""

    @property
    def is_skipped(self) -> bool:
        """Whether its results were there already."""
        return self.stats is None and self.error is None

    @property
    def warnings(self) -> tuple[str, ...]:
        """Lines that say what the result lacks."""
        stats = self.stats
        return stats.warnings if isinstance(stats, VideoStats) else self.image_warnings

    def to_json(self) -> dict[str, Any]:
        """Makes a record of it that is valid JSON."""
        record: dict[str, Any] = {"input": str(self.job.source), "output": str(self.job.target)}
        if self.stats is None:
            return record | ({"skipped": True} if self.is_skipped else {"error": str(self.error)})
        stats = asdict(self.stats)
        if not math.isfinite(stats.get("threshold") or 0):
            stats["threshold"] = None
        overlay = {"overlay": str(self.job.overlay)} if self.job.overlay else {}
        return record | overlay | stats | {"heavy_share": self.stats.heavy_share}

    def summary(self) -> str:
        """Describes the image or video in one line, for a terminal."""
        stats = self.stats
        if stats is None:
            return one_line(f"{self.job.target}: {self.error or 'skipped, it is there already'}")
        height, width = stats.hr_size
        heavy = f", {stats.heavy_share:.1%} heavy" if len(stats.pixels_per_upsampler) > 1 else ""
        if isinstance(stats, VideoStats):
            reused = f", {stats.reused_share:.0%} reused" if stats.reused_share >= 0.005 else ""
            time = f"{stats.frames} frames, {stats.frame_ms:.0f} ms each{reused}"
        else:
            time = f"{stats.total_ms:.0f} ms"
        return one_line(f"{self.job.target}: {width}x{height}{heavy}, {time}")
