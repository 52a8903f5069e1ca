"""CUDA graphs are captured so that one that fails leaves the process as it was."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import torch

# A pool that is being filled must not meet `empty_cache` of another thread: PyTorch asserts.
_LOCK = threading.RLock()
_ABANDONED: list[torch.cuda.CUDAGraph] = []  # the allocators of PyTorch still point to them


def free_cached_memory() -> None:
    """Gives the memory that PyTorch's allocator keeps back to CUDA, but not during a capture."""
    with _LOCK:
        torch.cuda.empty_cache()


@contextmanager
def away_from_captures() -> Iterator[None]:
    """Keeps captures of other threads away from a body in which PyTorch empties its cache."""
    with _LOCK:
        yield


def captured(run: Callable[[], object], stream: torch.cuda.Stream) -> torch.cuda.CUDAGraph:
    """Captures what `run` queues on `stream`, which is the current one meanwhile, not the default
    one. Other threads may go on using the device.

    Raises:
        Exception: whatever `run` or CUDA raises; the graph is dropped, the caller's stream is
            current again, and later captures and allocations work.
    """
    with _LOCK, torch.cuda.device(stream.device):
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        try:
            return _attempted(run, stream)
        except BaseException:
            _settle(stream)
            raise


def _attempted(run: Callable[[], object], stream: torch.cuda.Stream) -> torch.cuda.CUDAGraph:
    graph, pool = torch.cuda.CUDAGraph(), torch.cuda.graph_pool_handle()
    with torch.cuda.stream(stream):
        try:
            graph.capture_begin(pool, capture_error_mode="thread_local")
            try:
                run()
            except BaseException:
                with suppress(RuntimeError):
                    graph.capture_end()
                raise
            graph.capture_end()
        except BaseException:
            _close(graph, pool, stream.device.index)
            raise
    return graph


def _close(graph: torch.cuda.CUDAGraph, pool: tuple[int, int], device: int) -> None:
    """Closes the pool, where `capture_end` raised before it did so (PyTorch up to 2.11): the next
    `empty_cache` would end in an internal assertion.
    """
    try:
        torch._C._cuda_endAllocateToPool(device, pool)
    except RuntimeError:
        return  # it is closed
    _ABANDONED.append(graph)
    torch._C._cuda_releasePool(device, pool)


def _settle(stream: torch.cuda.Stream) -> None:
    """Captures a trifle: PyTorch's random generators believe in the failed capture until another
    one ends well.
    """
    with suppress(RuntimeError):  # the device itself is broken: the error that is raised says so
        value = torch.zeros(1, dtype=torch.float32, device=stream.device)
        _attempted(value.zero_, stream)
