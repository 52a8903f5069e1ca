"""The first use of a caller in a process of its own: opening it, one call, and the memory of a
process that does nothing else.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import numpy as np

from pcsr.metrics import Pixels
from pcsr.runtime.machine import peak_resident_mib, resident_mib

from .calls import CallOptions, timed
from .process import call_alone


@dataclass(frozen=True)
class FirstUse:
    """Holds what a first use took; None where nobody looked or the system does not say."""

    first_ms: float
    open_ms: float | None = None
    """Opening the caller, imports included."""
    loaded_mib: float | None = None
    """Memory of the process before the call, all imported and read."""
    peak_mib: float | None = None
    """The most memory until the call's end: resident, or what the call allocated on a device."""
    held_mib: float | None = None
    """Memory of a device that the caller kept after its warm-up."""
    threshold: float | None = None
    """The difficulty above which pixels were heavy."""


def first_use(
    opener: str,
    arguments: Mapping[str, Any],
    image: Pixels,
    options: CallOptions,
    folder: Path | None = None,
) -> FirstUse:
    """Opens a caller in a fresh process and calls it once.

    opener: `module:function`, which makes the caller from the arguments (JSON values). folder: as
    of `call_alone`.

    Raises:
        DidNotFinish: as `call_alone`.
    """
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "image.npy"
        np.save(file, image)
        request = {"opener": opener, "arguments": dict(arguments), "image": str(file)}
        request["options"] = dict(options)
        return FirstUse(**call_alone(f"{__name__}:use", request, folder=folder))


def use(opener: str, arguments: dict[str, Any], image: str, options: CallOptions) -> dict[str, Any]:
    """Makes a first use in this process, as the fields of `FirstUse`. image: a file of NumPy."""
    pixels: Pixels = np.load(image)
    open_ms, caller = timed(lambda: resolve_name(opener)(**arguments))
    loaded_mib = resident_mib()
    first_ms, answer = timed(lambda: caller(pixels, options))
    peak_mib = peak_resident_mib()
    threshold = answer.details().threshold
    return asdict(FirstUse(first_ms, open_ms, loaded_mib, peak_mib, threshold=threshold))
