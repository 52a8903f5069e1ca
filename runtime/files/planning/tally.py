"""The tally of a run: how many files became what, and how fast."""

from time import perf_counter

from pcsr.runtime.files.done import Done
from pcsr.runtime.files.video import VideoStats


class Tally:
    """Counts what is done."""

    def __init__(self) -> None:
        self.done = self.failed = self.skipped = 0
        self._pixels, self._start = 0, perf_counter()

    def add(self, done: Done) -> None:
        """Counts one job."""
        self.failed += done.error is not None
        self.skipped += done.is_skipped
        if done.stats is not None:
            self.done += 1
            height, width = done.stats.hr_size
            frames = done.stats.frames if isinstance(done.stats, VideoStats) else 1
            self._pixels += height * width * frames

    def summary(self) -> str:
        """Says it in one line, with the megapixels of results per second."""
        seconds = perf_counter() - self._start
        skipped = f", {self.skipped} skipped that were there" if self.skipped else ""
        speed = f", {self._pixels / 1e6 / max(seconds, 1e-3):.1f} megapixels/s" if self.done else ""
        return f"{self.done} done, {self.failed} failed{skipped} in {seconds:.1f} s{speed}"
