"""Tells whether a run may go on from what it left."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import torch

from pcsr.errors import CheckpointError
from pcsr.models.values import shown_error

from .config import Config


@contextmanager
def resumed_from(path: Path) -> Iterator[None]:
    """Raises CheckpointError where the body meets a state of training that is none."""
    wrong = (LookupError, ValueError, TypeError, AttributeError, ArithmeticError, AssertionError)
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except (*wrong, RuntimeError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else shown_error(error)
        raise CheckpointError(
            f"{path} cannot be resumed from; delete it to train this stage anew: {reason}"
        ) from error


def digest(config: Config) -> str:
    """Digests all that the result depends on: not how often a run is saved, nor its workers."""
    parts = asdict(config)
    for harmless in ("validate_every", "save_every", "report_every", "psnr_channel", "notes"):
        del parts[harmless]
    for harmless in ("validation", "lr_validation", "workers"):
        del parts["data"][harmless]
    for part, later in (
        (parts, "phase"),
        (parts["data"], "sub_images"),
        (parts["data"], "lr_photos"),
    ):
        if not part[later]:  # runs that were begun before there was such a key go on
            del part[later]
    if config.distillation is None:
        del parts["distillation"], parts["data"]["least_scale"]
    else:
        del parts["distillation"]["teacher"]  # wherever it lies
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()
