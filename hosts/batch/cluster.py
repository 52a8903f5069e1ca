"""The connection to a Ray cluster, and how many workers fit on it."""

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from pcsr.errors import BackendError, UsageError
from pcsr.extras import needs_extra, require_packages
from pcsr.interrupts import silence
from pcsr.runtime.files.overlap import MOST_THREADS
from pcsr.runtime.machine import usable_cores
from pcsr.text import last_line

WAIT_S = 5.0  # for a host to accept a connection
STORE_BYTES = (
    2**28
)  # of a local cluster; rows are paths, and the bundle is all else that lies there
PULSE_S, MISSES = 3.0, 3
GONE = (
    "the cluster ({where}) does not answer any more; what was done stays: start it again and run "
    "the same command"
)
LOCAL_THREADS = 4  # cores of a worker, where nobody says


@contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """Lends the module ray, connected to a cluster: a new one on this machine for None (or the one
    that RAY_ADDRESS names), `auto` for the one that runs here, `HOST:PORT`, or `ray://HOST:PORT`.
    One that the process is connected to already is taken, and stays.

    Raises:
        BackendError: Ray is not installed, or there is no such cluster.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if not _is_loud():
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    with needs_extra("--engine ray", "ray"):
        import ray
        import ray.data
    if ray.is_initialized():
        yield ray
        return
    where = address or os.environ.get("RAY_ADDRESS") or "local"
    _refuse_unreachable(where)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with _refusals(where), _silent(2):
            _join(ray, where)
        _restore(handlers)
        _hush(ray)
        with _watched(ray, where):
            yield ray
    finally:
        ray.shutdown()


def workers_of(ray: Any, device: str, threads: int | None) -> tuple[int, int]:  # noqa: ANN401
    """Counts the workers that the cluster has room for, and says how many cores each has: one for
    each GPU, with that GPU's share of its node's cores, at most 8, which read and write; or one for
    each `threads` cores of a node (by default 4, or all where there are fewer).

    Raises:
        BackendError: there is no GPU, or no node with so many cores.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if device != "cpu":
        of_gpus = [(int(node["GPU"]), int(node.get("CPU", 0))) for node in nodes if node.get("GPU")]
        if not of_gpus:
            raise BackendError("the cluster has no GPU; use --device cpu, or name its --workers")
        share = min(MOST_THREADS, *(cores // gpus for gpus, cores in of_gpus))
        return sum(gpus for gpus, _ in of_gpus), threads or max(1, share)
    most = max((int(node.get("CPU", 0)) for node in nodes), default=0)
    cores = threads or max(1, min(LOCAL_THREADS, most))
    count = sum(int(node.get("CPU", 0)) // cores for node in nodes)
    if not count:
        raise BackendError(
            f"no node of the cluster has {cores} cores, found {most} at most; use fewer --threads"
        )
    return count, cores


@contextmanager
def _watched(ray: Any, where: str) -> Iterator[None]:  # noqa: ANN401
    """Ends this process with a line where the cluster goes during the body: Ray ends it without
    one, a minute later. Clients (ray://) raise errors themselves.
    """
    if where.startswith("ray://"):
        yield
        return
    host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
    over = threading.Event()

    def watch() -> None:
        missed = 0
        while missed < MISSES:
            if over.wait(PULSE_S):
                return
            try:
                socket.create_connection((host, int(port)), PULSE_S).close()
                missed = 0
            except OSError:
                missed += 1
        sys.stderr.write(f"error: {GONE.format(where=where)}\n")
        sys.stderr.flush()
        os._exit(BackendError.exit_code)

    watcher = threading.Thread(target=watch, name="pcsr-cluster", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()


def _join(ray: Any, where: str) -> None:  # noqa: ANN401
    loud = _is_loud()
    level = logging.INFO if loud else logging.CRITICAL
    options: dict[str, Any] = {"logging_level": level, "log_to_driver": loud}
    if where == "local":
        options |= {"include_dashboard": False, "object_store_memory": STORE_BYTES}
        options |= {"num_cpus": usable_cores()}
    ray.init(address=where, **options)


def _refuse_unreachable(where: str) -> None:
    """Ray itself tries for minutes to reach a host that does not answer."""
    host, _, port = where.removeprefix("ray://").rpartition(":")
    if where in ("local", "auto"):
        return
    if not host or not port.isdecimal():
        raise UsageError(
            f"expected --engine ray, ray=auto, ray=HOST:PORT or ray=ray://HOST:PORT, found {where}"
        )
    try:
        socket.create_connection((host, int(port)), WAIT_S).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BackendError(
            f"cannot reach the cluster at {where}: {reason}; check the address, or start one "
            "(ray start --head)"
        ) from error
    if where.startswith("ray://"):
        require_packages("--engine ray=ray://", {"grpc": "grpcio"}, "ray")


@contextmanager
def _refusals(where: str) -> Iterator[None]:
    try:
        yield
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        # With an address Ray sends no token unless it is told to, and says nothing of it.
        hint = (
            "" if "RAY_AUTH_MODE" in os.environ else "; if it asks for a token: RAY_AUTH_MODE=token"
        )
        raise BackendError(
            f"cannot reach the cluster at {where}: {last_line(error)}{hint}"
        ) from error


@contextmanager
def _silent(number: int) -> Iterator[None]:
    """Lets a standard stream lead nowhere, unless -v asks for more: Ray's core prints there that
    it has been told to print nothing.
    """
    if _is_loud():
        yield
        return
    kept = os.dup(number)
    try:
        silence(number)
        yield
    finally:
        os.dup2(kept, number)
        os.close(kept)


def _restore(handlers: dict[signal.Signals, Any]) -> None:
    """Brings back the handlers of a command, which `ray.init` has replaced."""
    if threading.current_thread() is threading.main_thread():
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _hush(ray: Any) -> None:  # noqa: ANN401
    """Leaves standard output and error to the command, unless -v asks for more."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    if _is_loud():
        return
    context.print_on_execution_start = False
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    with suppress(AttributeError):  # what nodes report is printed to standard output else
        ray._private.worker._worker_logs_enabled = False


def _is_loud() -> bool:
    return logging.getLogger("pcsr").isEnabledFor(logging.INFO)
