"""Answers calls: decodes, computes, encodes. Those of several threads overlap."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pcsr.errors import UsageError
from pcsr.images import Picture, fitted, read_bytes, write_bytes
from pcsr.images.formats import check_fits, format_of
from pcsr.runtime.geometry.grid import hr_size
from pcsr.runtime.process.cancellation import POLL_S, Cancellation
from pcsr.runtime.result import Result, Stats
from pcsr.runtime.upscaler import Upscaler

from . import contract
from .calls import Call, refuse_output, refuse_pixels
from .device_tensors import on_host
from .settings import Settings
from .times import COMPUTE, DECODE, ENCODE, QUEUE, Times


@dataclass(frozen=True)
class Answer:
    """What a request gets, and what is counted of it."""

    outputs: dict[str, Any]
    """Arrays by the outputs' names; on a GPU tensors of PyTorch."""
    stats: Stats
    stage_ms: dict[str, float]
    """Milliseconds of STAGES; of a stage that there was none of, nothing."""
    budget_ms: float | None
    """The budget that counted."""


class Service:
    """Answers the calls of any number of threads with one `Upscaler`.

    computing: how many of them compute at once.
    """

    def __init__(self, upscaler: Upscaler, settings: Settings, computing: int) -> None:
        self._upscaler, self._settings = upscaler, settings
        self._turns = threading.Semaphore(computing)

    def answer(self, call: Call, times: Times, cancellation: Cancellation) -> Answer:
        """Answers one call; `times` has measured how long it was queued.

        Raises:
            UsageError, ImageError, CancelledError: the client is to be told.
        """
        cancellation.check()
        scale, request = self._upscaler.completed(call.scale, call.request)
        self._refuse_routing(call)
        picture = None
        if call.is_encoded:
            with times.stage(DECODE):
                picture = self._decoded(call)
        image = call.image if picture is None else picture.pixels
        size = hr_size(image.shape[:2], scale)
        refuse_pixels(size, self._settings.max_output_pixels, "an output")
        if call.wanted.encoded:
            _refuse_unencodable(picture or _picture(image), call.wanted.suffix, size)
        with self._turn(times, cancellation), times.stage(COMPUTE):
            result = self._upscaler.run(image, scale, request, cancellation=cancellation)
            stats = result.stats  # waits for the device
        cancellation.check()
        outputs = self._outputs(call, picture, result, times)
        if call.wanted.has(contract.STAGE_MS):
            stage_ms = json.dumps(times.stage_ms | {"upscaler": dict(stats.stage_ms)})
            outputs[contract.STAGE_MS] = contract.text_array(stage_ms.encode())
        return Answer(outputs, stats, times.stage_ms, request.budget_ms)

    @contextmanager
    def _turn(self, times: Times, cancellation: Cancellation) -> Iterator[None]:
        with times.stage(QUEUE):
            while not self._turns.acquire(timeout=POLL_S):
                cancellation.check()
        try:
            yield
        finally:
            self._turns.release()

    def _decoded(self, call: Call) -> Picture:
        picture = read_bytes(call.image, self._settings.max_input_pixels)
        refuse_output(picture.pixels.dtype.name, call.wanted)
        return picture

    def _outputs(
        self, call: Call, picture: Picture | None, result: Result, times: Times
    ) -> dict[str, Any]:
        wanted, found = call.wanted, dict[str, Any]()
        image = result.image if result.image.ndim == 3 else result.image[..., None]
        name = contract.RESULTS[str(image.dtype).removeprefix("torch.")]
        if name in wanted.pixels:
            found[name] = image
        if wanted.encoded:
            with times.stage(ENCODE):
                data = _encoded(picture, image, wanted.suffix, wanted.quality)
                found[contract.RESULT_ENCODED] = contract.text_array(data)
        if wanted.has(contract.HEAVY_SHARE):
            found[contract.HEAVY_SHARE] = contract.number_array(result.stats.heavy_share)
        if wanted.has(contract.THRESHOLD) and result.stats.threshold is not None:
            found[contract.THRESHOLD] = contract.number_array(result.stats.threshold)
        if wanted.has(contract.ROUTING):
            found[contract.ROUTING] = result.assignment
        return found

    def _refuse_routing(self, call: Call) -> None:
        if call.wanted.has(contract.ROUTING) and self._upscaler.bundle.kind == "plain":
            raise UsageError(
                f"this model is a plain network, without routing; leave {contract.ROUTING} out"
            )


def _picture(image: Any) -> Picture:  # noqa: ANN401
    """Makes a picture of pixels [h, w, channels] without metadata."""
    pixels = on_host(image)
    return Picture(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def _refuse_unencodable(picture: Picture, suffix: str, size: tuple[int, int]) -> None:
    """Raises, before the computation, what encoding a result of (height, width) would raise."""
    path = Path(f"image{suffix}")
    shape = fitted(picture, path).pixels.shape
    check_fits(path, format_of(path), (*size, *shape[2:]))


def _encoded(picture: Picture | None, image: Any, suffix: str, quality: int) -> bytes:  # noqa: ANN401
    result = _picture(image)
    whole = result if picture is None else picture.with_pixels(result.pixels)
    return write_bytes(whole, suffix, quality)
