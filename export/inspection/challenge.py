"""The figures of the NTIRE 2022 challenge on efficient super-resolution (`--challenge`)."""

import json
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from pcsr.runtime.devices import torch_device
from pcsr.runtime.machine import usable_cores
from pcsr.runtime.profiler.pictures import InputImage, photos

from .contender import read_entry
from .counts import SIZE, Counts, count_network
from .timing import Measured, measure


@dataclass(frozen=True)
class Protocol:
    """Says where and on what a network is timed."""

    device: str = "cpu"
    """`cpu`, `cuda` or `cuda:N`."""
    threads: int | None = None
    """Of the CPU; None stands for all cores."""
    images: Path | None = None
    """An image or a folder of LR images; None stands for one of SIZE, of noise."""


@dataclass(frozen=True)
class Challenge:
    """Holds what the challenge reports of a network."""

    path: str
    form: str
    """`checkpoint` or `bundle`."""
    architecture: str
    scale: float
    counts: Counts | None
    """On an input of SIZE; None of a bundle, whose graphs are no more what was submitted: their
    channels are padded and BatchNorm is folded."""
    measured: Measured

    def to_json(self) -> str:
        """Returns the report as JSON."""
        return json.dumps(asdict(self), indent=2, allow_nan=False) + "\n"


def take_challenge(path: Path, protocol: Protocol) -> Challenge:
    """Counts and measures the plain network of a checkpoint, or measures that of a bundle.

    Raises:
        CheckpointError, BundleError: it is neither, or it is damaged.
        UsageError: it holds no plain network, or an option names nothing.
        VerificationError: its work cannot be counted.
        ImageError: an image cannot be read.
        BackendError: the device or a library is not there.
    """
    device = torch_device(protocol.device)
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # of foreign networks
        entry = read_entry(path)
        counts = None if entry.network is None else count_network(entry.network)
        pictures = [_noise()] if protocol.images is None else photos([protocol.images], ())
        measured = measure(entry, device, protocol.threads or usable_cores(), pictures)
    return Challenge(str(path), entry.form, entry.architecture, entry.scale, counts, measured)


def _noise() -> InputImage:
    pixels = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    return InputImage("noise", pixels)
