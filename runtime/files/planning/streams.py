"""Standard input and output in the place of files, through temporary ones."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

from pcsr.errors import ImageError, UsageError
from pcsr.runtime.files.done import Done
from pcsr.runtime.files.jobs import STREAM, Job, Plan

_BYTES_PER_PIXEL, _LEAST_BYTES = 16, 2**26  # an input is never larger, whatever its format


@dataclass(frozen=True)
class Streams:
    """The jobs of a plan, with files where it has streams."""

    plan: Plan
    jobs: tuple[Job, ...]
    folder: Path | None = None

    def restored(self, done: Done) -> Done:
        """Names the streams again in what was done."""
        if self.folder is None:
            return done
        job, plan = done.job, self.plan
        job = replace(
            job,
            source=STREAM if plan.from_stdin else job.source,
            target=STREAM if plan.to_stdout else job.target,
        )
        error = done.error
        if error:
            error = type(error)(str(error).replace(f"{self.folder}/", ""))
        return replace(done, job=job, error=error)

    def hand_on(self) -> None:
        """Copies what was made to standard output, if that is where it goes."""
        if self.plan.to_stdout:
            with self.jobs[0].target.open("rb") as made:
                shutil.copyfileobj(made, sys.stdout.buffer)
            sys.stdout.buffer.flush()


@contextmanager
def opened_streams(plan: Plan, max_pixels: int) -> Iterator[Streams]:
    """Lends the jobs with files for streams; reads all of standard input first, where it is used.

    Raises:
        UsageError: the stream is closed or a terminal.
        ImageError: there is more on standard input than an image of `max_pixels` has.
    """
    if not (plan.from_stdin or plan.to_stdout):
        yield Streams(plan, tuple(plan.jobs))
        return
    for stream, is_used, name, advice in (
        (sys.stdin, plan.from_stdin, "input", "pipe an image into it, or name a file"),
        (sys.stdout, plan.to_stdout, "output", "send it to a file or a pipe, or name a file"),
    ):
        if is_used and (stream is None or stream.closed):
            raise UsageError(f"standard {name} is closed; {advice}")
        if is_used and stream.isatty():
            raise UsageError(f"standard {name} is a terminal; {advice}")
    with TemporaryDirectory(prefix="pcsr-") as name:
        folder, job = Path(name), plan.jobs[0]
        if plan.from_stdin:
            job = replace(job, source=folder / "standard input")
            with job.source.open("wb") as file:
                _spool(sys.stdin.buffer, file, max(_LEAST_BYTES, _BYTES_PER_PIXEL * max_pixels))
        if plan.to_stdout:
            job = replace(job, target=folder / f"standard output{job.target.suffix}")
        yield Streams(plan, (job,), folder)


def _spool(source: BinaryIO, target: BinaryIO, limit: int) -> None:
    while block := source.read(2**20):
        if target.tell() + len(block) > limit:
            raise ImageError(
                f"expected at most {limit} bytes on standard input, found more; raise --max-pixels"
            )
        target.write(block)
