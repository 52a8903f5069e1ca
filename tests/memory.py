"""What a process holds."""

import ctypes

from pcsr.runtime.machine import resident_mib


def settled_mib() -> float:
    """Says what stays resident when glibc's malloc was asked to give back what it keeps for later:
    up to 200 MiB of an image's call, some calls more than others. 0 where the system does not say.
    """
    getattr(ctypes.CDLL(None), "malloc_trim", int)(0)
    return resident_mib() or 0
