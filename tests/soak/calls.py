"""One call of a service after the other: all sizes, types and ways, and what goes wrong there."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcsr import Cancellation, CancelledError, ImageError, Upscaler, UsageError

DTYPES: list[type[np.generic]] = [np.uint8, np.uint16, np.float32]
WAYS: list[dict[str, Any]] = [{}, {"k": 1.5}, {"adaptive": True}, {"heavy_ratio": 0.3}]
LARGE = 50  # one image of so many is larger than the others
LARGEST_PX = 160  # a side of it
OPENED = 200  # one call of so many opens an Upscaler of its own
BAD: list[Any] = [
    None,
    np.zeros((0, 5, 3), np.uint8),
    np.zeros((5, 5, 7), np.uint8),
    np.full((6, 5, 3), np.nan, np.float32),
    np.zeros((5, 5, 3), np.complex64),
]


class GoneError(Exception):
    """What the taker of a stream raises whose client is gone."""


def make(number: int, upscaler: Upscaler, bundle: Path) -> str:
    """Makes the call of a number, which alone decides what it is, and says what became of it."""
    random = np.random.default_rng(number)
    kind = random.choice(["call", "stream", "cancelled", "deadline", "gone", "bad"])
    image, scale = _image(random), float(random.choice([1, 2, 2.5, 3.7, 4]))
    way = WAYS[random.integers(len(WAYS))]
    if number % OPENED == 0:
        with Upscaler(bundle, upscaler.device, upscaler.backend, threads=1) as own:
            own(image, scale, **way)
        return "opened and closed"
    try:
        if kind == "bad":
            upscaler(BAD[random.integers(len(BAD))], scale)
        elif kind in ("stream", "gone"):
            upscaler.stream(_opaque(image), _refuse if kind == "gone" else _take, scale, **way)
        else:
            upscaler(image, scale, cancellation=_cancellation(kind, random), **way)
    except CancelledError:
        return "cancelled"
    except (ImageError, UsageError):
        return "refused"
    except GoneError:
        return "its taker failed"
    return "streamed" if kind == "stream" else "done"


def make_some(numbers: range, upscaler: Upscaler, bundle: Path) -> Counter[str]:
    """Makes some calls and counts what became of them."""
    return Counter(make(number, upscaler, bundle) for number in numbers)


def _image(random: np.random.Generator) -> NDArray[Any]:
    most = (LARGEST_PX,) * 2 if random.integers(LARGE) == 0 else (28, 36)
    height, width = (int(random.integers(1, side)) for side in most)
    channels = int(random.integers(0, 5))
    values = random.random((height, width, *([channels] if channels else [])))
    dtype = DTYPES[random.integers(len(DTYPES))]
    peak = 1 if dtype is np.float32 else np.iinfo(dtype).max  # type: ignore[type-var]
    image: NDArray[Any] = (values * peak).astype(dtype)
    return image


def _opaque(image: NDArray[Any]) -> NDArray[Any]:
    return image[..., :-1] if image.ndim == 3 and image.shape[2] in (2, 4) else image


def _cancellation(kind: str, random: np.random.Generator) -> Cancellation | None:
    if kind == "deadline":
        return Cancellation(timeout_s=float(random.random()) * 0.01)
    if kind == "cancelled":
        left = iter(range(int(random.integers(4))))
        return Cancellation(asked=lambda: next(left, None) is None)
    return None


def _take(_: object) -> None: ...


def _refuse(_: object) -> None:
    raise GoneError
