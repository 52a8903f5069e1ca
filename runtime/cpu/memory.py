"""How much memory is left, and arrays that serve one image after another."""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CGROUP = Path("/sys/fs/cgroup")


class Arrays:
    """Named arrays that keep their place: one of a name is lost when the next is taken."""

    def __init__(self) -> None:
        self._held: dict[str, NDArray[Any]] = {}

    def take(self, name: str, shape: tuple[int, ...], dtype: type[np.generic]) -> NDArray[Any]:
        """An array of this shape, not cleared."""
        count = math.prod(shape)
        if name not in self._held or self._held[name].size < count:
            self._held[name] = np.empty(count, dtype=dtype)
        return self._held[name][:count].reshape(shape)


class Memory:
    """Lends `Arrays` to one image at a time; as many exist as images were computed at once."""

    def __init__(self) -> None:
        self._spare: list[Arrays] = []

    @contextmanager
    def lent(self) -> Iterator[Arrays]:
        """The most recently returned ones."""
        try:
            arrays = self._spare.pop()
        except IndexError:
            arrays = Arrays()
        try:
            yield arrays
        finally:
            self._spare.append(arrays)


def available_bytes() -> int:
    """Of physical memory, within this container's limit where there is one."""
    found = [free for free in (_of_system(), _of_container()) if free is not None]
    return min(found, default=2**32)


def _of_system() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return None


def _of_container() -> int | None:
    try:
        limit = int((CGROUP / "memory.max").read_text())
        used = int((CGROUP / "memory.current").read_text())
        statistics = (CGROUP / "memory.stat").read_text().split()
    except (OSError, ValueError):  # no cgroup v2, or "max"
        return None
    reclaimable = dict(zip(statistics[::2], statistics[1::2], strict=False)).get("inactive_file", 0)
    return max(0, limit - used + int(reclaimable))
