"""The shared memory through which results on the host reach the server."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from .refusals import BusyError

FOLDER = Path("/dev/shm")
SPARE_BYTES = 2**20
"""The server's memory grows by so much at a time."""
MIB = 2**20


class Passage:
    """Lets results pass one after the other, where there is room for them.

    A response that finds none cannot be sent again: the server takes no second one, and its client
    would wait for ever.

    free_bytes: says how much room there is; None where nobody can know.
    """

    def __init__(self, free_bytes: Callable[[], int] | None) -> None:
        self._free_bytes, self._lock = free_bytes, Lock()

    @classmethod
    def of_server(cls) -> "Passage":
        """Makes that of the process in which the server runs a model."""
        pool = getattr(sys.modules.get("c_python_backend_utils"), "shared_memory", None)
        if pool is None:
            return cls(None)
        # Where a result does not fit into what is free, the server grows it by the whole result.
        return cls(lambda: max(pool.free_memory(), _free_bytes(FOLDER)))

    @contextmanager
    def taken(self, arrays: Sequence[Any]) -> Iterator[None]:
        """Is free for these results while the body sends them. Those on a GPU need no room.

        Raises:
            BusyError: they do not fit.
        """
        needed = sum(_bytes(array) for array in arrays if isinstance(array, np.ndarray))
        with self._lock:
            if self._free_bytes is not None and needed + SPARE_BYTES > self._free_bytes():
                raise BusyError(
                    f"the server's shared memory has no room for a result of {needed / MIB:.0f} "
                    "MiB; try again later, or ask for it encoded (OUTPUT_FORMAT)"
                )
            yield


def _bytes(array: np.ndarray[Any, Any]) -> int:
    return sum(map(len, array.flat)) if array.dtype == object else array.nbytes


def _free_bytes(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize
