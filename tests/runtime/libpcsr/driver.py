"""Speaks with the C program `driver`: a bundle opened there, images upscaled there."""

import itertools
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from .pixels import DENSE, FORMATS, PATTERN, Form, Pixels

Answer = dict[str, str]
OK, ARGUMENT, BUNDLE, BACKEND, IMAGE, MEMORY, CANCELLED, INTERNAL = range(8)
ROUTINGS = {"k": 0, "adaptive": 1, "heavy_ratio": 2}


@dataclass(frozen=True)
class Done:
    """What a run gave."""

    answer: Answer
    memory: NDArray[np.uint8]
    image: Pixels
    """[H, W, c] in RGB."""
    rows: Pixels | None
    """As collected from the callback, in the order of the output's channels."""
    difficulty: NDArray[np.float32] | None
    assignment: NDArray[np.uint8] | None

    @property
    def status(self) -> int:
        return int(self.answer["status"])

    @property
    def message(self) -> str:
        return self.answer["message"]


@dataclass
class Job:
    """An image to upscale, with the fields that the driver takes. `form` is the input's memory,
    `out_form` the output's.
    """

    name: str
    image: Pixels
    options: dict[str, Any] = field(default_factory=dict)
    form: Form = DENSE
    out_form: Form = DENSE
    out_size: tuple[int, int] | None = None
    rows: bool = False
    maps: bool = False


def options_of(**options: Any) -> dict[str, Any]:  # noqa: ANN401
    """Options of `Upscaler` as fields: scale, k, adaptive, heavy_ratio, refine."""
    fields: dict[str, Any] = {}
    for name, value in options.items():
        if name == "refine":
            fields["refine"] = 1 if value else 2
        elif name == "adaptive":
            fields["routing"] = ROUTINGS["adaptive"]
        else:
            fields[name] = repr(float(value))
            if name == "heavy_ratio":
                fields["routing"] = ROUTINGS["heavy_ratio"]
    return fields


class Driver:
    """A process of the program."""

    def __init__(
        self, program: Path, onnxruntime: Path, folder: Path, env: dict[str, str] | None = None
    ) -> None:
        self._log = (folder / "stderr.txt").open("w+")
        self._process = subprocess.Popen(
            [program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=env,
        )
        self._onnxruntime, self._folder = onnxruntime, folder
        self._names = itertools.count()
        self._opened: dict[tuple[Any, ...], str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, *_: BaseException | TracebackType | None
    ) -> None:
        """Ends it; a sanitizer may fail it even now."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        code = self._process.wait(timeout=60)
        assert kind is not None or code == 0, f"exit status {code}: {self.stderr()}"
        self._log.close()

    def stderr(self) -> str:
        """What it has written there."""
        self._log.seek(0)
        return self._log.read()

    def ask(self, verb: str, **fields: Any) -> Answer:  # noqa: ANN401
        """Sends a command and reads its answer."""
        self._send(verb, fields)
        return self._read()

    def open(self, bundle: Path, **options: Any) -> str:  # noqa: ANN401
        """Opens a bundle, once for the same options, and returns the name of its handle."""
        key = (bundle, *sorted(options.items()))
        if key not in self._opened:
            answer, self._opened[key] = self.try_open(bundle, **options)
            assert answer["status"] == "0", answer
        return self._opened[key]

    def try_open(self, bundle: Path | None, **options: Any) -> tuple[Answer, str]:  # noqa: ANN401
        """Opens a bundle that may be refused."""
        name = f"handle{next(self._names)}"
        fields = {"name": name, "directory": bundle, "onnxruntime": self._onnxruntime, "threads": 2}
        return self.ask("open", **fields | options), name

    def upscaled(self, *arguments: Any, **fields: Any) -> Done:  # noqa: ANN401
        """Upscales one image; arguments are those of `Job`."""
        return self.together([Job(*arguments, **fields)])[0]

    def together(self, jobs: list[Job], repeats: int = 1) -> list[Done]:
        """Upscales images at once, each in a thread of its own, and each so many times."""
        names = [self._queued(job) for job in jobs]
        self._send("go", {"repeats": repeats})
        return [self._done(job, name, self._read()) for job, name in zip(jobs, names, strict=True)]

    def _queued(self, job: Job) -> Path:
        path = self._folder / f"job{next(self._names)}"
        height, width, channels = job.image.shape
        size = job.image.dtype.itemsize
        job.form.stored(job.image).tofile(path.with_suffix(".in"))
        fields = {"name": job.name, "input": path.with_suffix(".in")}
        fields |= {"width": width, "height": height, "channels": channels}
        fields |= {"format": FORMATS[job.image.dtype.name]}
        fields |= job.form.fields(job.image.shape, size)
        out = self._out_shape(job)
        fields |= {"out_width": out[1], "out_height": out[0], "output": path.with_suffix(".out")}
        fields |= {"out_bytes": job.out_form.bytes_of(out, size)}
        fields |= job.out_form.fields(out, size, "out_")
        if job.rows:
            fields["rows"] = path.with_suffix(".rows")
        if job.maps:
            fields["difficulty"] = path.with_suffix(".difficulty")
            fields["assignment"] = path.with_suffix(".assignment")
        answer = self.ask("queue", **fields | job.options)
        assert answer["status"] == "0"
        return path

    def _out_shape(self, job: Job) -> tuple[int, int, int]:
        height, width, channels = job.image.shape
        if job.out_size is None:
            where = {"name": job.name, "width": width, "height": height}
            size = self.ask("size", **where, scale=job.options.get("scale", 0))
            job.out_size = max(1, int(size["height"])), max(1, int(size["width"]))
        return (*job.out_size, channels)

    def _done(self, job: Job, path: Path, answer: Answer) -> Done:
        out, dtype = self._out_shape(job), job.image.dtype
        memory = np.fromfile(path.with_suffix(".out"), np.uint8)
        image = job.out_form.view(memory, dtype, out) if len(memory) else np.empty((0, 0, 0), dtype)
        rows = difficulty = assignment = None
        if job.rows and answer["status"] == "0":
            rows = np.fromfile(path.with_suffix(".rows"), dtype).reshape(out)
        if job.maps:
            difficulty = np.fromfile(path.with_suffix(".difficulty"), np.float32).reshape(out[:2])
            assignment = np.fromfile(path.with_suffix(".assignment"), np.uint8).reshape(out[:2])
        for written in self._folder.glob(f"{path.name}.*"):
            written.unlink()
        return Done(answer, memory, image, rows, difficulty, assignment)

    def _send(self, verb: str, fields: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        given = [f"{key}={value}" for key, value in fields.items() if value is not None]
        self._process.stdin.write("\t".join([verb, *given]) + "\n")
        self._process.stdin.flush()

    def _read(self) -> Answer:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line.endswith("\n"), f"it ended ({self._process.wait()}): {self.stderr()}"
        return dict(part.split("=", 1) for part in line.rstrip("\n").split("\t"))


def between_rows_untouched(memory: NDArray[np.uint8], form: Form, image: Pixels) -> bool:
    """Whether memory that is not the image's still holds its pattern."""
    zeros = Form(False, form.planar, form.row_padding, form.plane_padding, form.bottom_up)
    mask = np.full(len(memory), 1, np.uint8)
    if image.dtype.itemsize:
        zeros.view(mask, image.dtype, image.shape)[...] = 0
    return bool((memory[mask == 1] == PATTERN).all())
