"""The figures of single machines: measured here, or read from the runs on a GPU that are kept."""

import hashlib
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.environment import ROOT
from benchmarks.image import sample_image
from benchmarks.records import read_records
from pcsr import Upscaler
from pcsr.errors import UsageError
from pcsr.images import Picture, read_bytes, write_bytes

from .arithmetic import MEGA, Image

SCALE = 4
CONTENDER = "pcsr, torch, fused, graph, ADM"
RESULTS = ROOT / "benchmarks" / "results"


def recorded_ms(model: str, pixels: int, results: Path = RESULTS) -> tuple[float, float, str]:
    """Finds what the latest kept run took for a frame from the host's memory to there, of the size
    nearest to so many input pixels: its milliseconds, its output megapixels, and the run's name.

    Raises:
        UsageError: no run measured that.
    """
    for file in sorted(results.glob("gpu-nvidia-h200-*.jsonl"), reverse=True):
        found = [
            record
            for record in read_records(file)
            if record["kind"] == "time"
            and (record["model"], record["contender"]) == (model, CONTENDER)
            and record["precision"] == "fp16"
            and record["image"] == "photos"
            and record.get("host_ms")
        ]
        if found:
            nearest = min(
                found, key=lambda record: abs(math.log(math.prod(record["lr_size"]) / pixels))
            )
            megapixels = math.prod(nearest["lr_size"]) * SCALE**2 / MEGA
            return nearest["host_ms"]["p50"], megapixels, file.stem
    raise UsageError(f"no run in {results} has times of {model}; choose carn or fsrcnn")


def core_s(work: Callable[[], Any], least: int = 2) -> tuple[float, Any]:
    """Takes the least time that all cores together spend on some work, and gives its result."""
    result, times = work(), []
    for _ in range(least):
        start = time.process_time()
        result = work()
        times.append(time.process_time() - start)
    return min(times), result


def measured(bundle: Path, size: tuple[int, int], suffixes: tuple[str, str], gpu_s: float) -> Image:
    """Measures an image of (height, width) input pixels. suffixes: of input and output."""
    photo = sample_image(size)
    source = write_bytes(Picture(photo), suffixes[0])
    decode_s, _ = core_s(lambda: read_bytes(source, photo.size), least=10)
    with Upscaler(bundle) as upscaler:
        compute_s, result = core_s(lambda: upscaler(photo, SCALE, adaptive=True))

    def encode() -> bytes:
        encoded = write_bytes(Picture(result.image), suffixes[1])
        hashlib.sha256(encoded).digest()
        return encoded

    encode_s, encoded = core_s(encode)
    megapixels = math.prod(result.image.shape[:2]) / MEGA
    return Image(
        output_mp=megapixels,
        decode_core_s=decode_s,
        encode_core_s=encode_s,
        compute_core_s=compute_s,
        compute_gpu_s=gpu_s * megapixels,
        read_mb=len(source) / MEGA,
        written_mb=len(encoded) / MEGA,
    )
