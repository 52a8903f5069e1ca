"""Runs a tritonserver in the foreground: checks what it needs, hands signals to it, and says at the
end why it ended.
"""

import ctypes
import errno
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import BinaryIO

from pcsr.bundle import is_bundle
from pcsr.errors import BackendError, UsageError

from . import regions
from .log import Log
from .server import Server

WATCH_S = 1.0
BROKEN_EXIT_S = 3.0
"""How long a server may take to end whose model's process has died: it takes no connections then,
and would wait for the dead process's requests until its own timeout.
"""
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Endpoints:
    """Where the server listens."""

    host: str = "127.0.0.1"
    http_port: int = 8000
    grpc_port: int = 8001
    metrics_port: int = 8002

    def check(self) -> None:
        """Tests that the server can listen.

        Raises:
            UsageError: two ports are the same.
            BackendError: a port is in use, or the address is not of this machine.
        """
        ports = {"HTTP": self.http_port, "gRPC": self.grpc_port, "metrics": self.metrics_port}
        if len({*ports.values()}) < len(ports):
            raise UsageError(f"expected three different ports, found {list(ports.values())}")
        for what, port in ports.items():
            try:
                family = socket.getaddrinfo(self.host, port, type=socket.SOCK_STREAM)[0][0]
                with socket.socket(family) as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind((self.host, port))
            except OSError as error:
                of_host = isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL
                raise BackendError(
                    f"cannot listen on {self.host}:{port} ({what}): "
                    f"{error.strerror or error}; name another by "
                    f"--{'host' if of_host else f'{what.lower()}-port'}"
                ) from error


def check_repository(models: str) -> None:
    """Tests that a folder is a model repository; what is not a local folder (s3://) is taken.

    Raises:
        UsageError: it is none.
    """
    folder = Path(models)
    if "://" in models or any(folder.glob("*/config.pbtxt")):
        return
    make = f"make one with pcsr-serve repository BUNDLE -o {models if '/' in models else 'models/'}"
    if is_bundle(folder):
        make = f"make one with pcsr-serve repository {models} -o models/"
        raise UsageError(f"expected a model repository, found the bundle {models}; {make}")
    found = "a file, not a folder" if folder.exists() else "no such folder"
    if folder.is_dir():
        found = "no folder in it with a config.pbtxt"
    raise UsageError(f"expected a model repository, found {models} ({found}); {make}")


def arguments(
    server: Server, models: str, endpoints: Endpoints, exit_timeout_s: int, more: Sequence[str]
) -> list[str]:
    """Gives the command line of the server. `more` comes last."""
    options = {
        "model-repository": models,
        "http-address": endpoints.host,
        "grpc-address": endpoints.host,
        "metrics-address": endpoints.host,
        "http-port": endpoints.http_port,
        "grpc-port": endpoints.grpc_port,
        "metrics-port": endpoints.metrics_port,
        "exit-timeout-secs": exit_timeout_s,
    }
    if server.backends is not None:
        options["backend-directory"] = str(server.backends)
    region = f"python,shm-region-prefix-name={regions.prefix()}"
    lines = [f"--{name}={value}" for name, value in options.items()]
    return [str(server.program), *lines, f"--backend-config={region}", *more]


def run(server: Server, command: Sequence[str], log: Log) -> int:
    """Runs the server until it ends; returns its exit code, 128 + N where signal N ended it.

    SIGINT and SIGTERM are handed on: the server ends its requests first. SIGHUP does the same. The
    server ends with this process, whatever ends that.
    """
    regions.remove_abandoned()
    with (
        _signals() as signals,
        subprocess.Popen(
            command,
            stderr=subprocess.PIPE,
            env={**os.environ, **server.environment},
            process_group=0,  # a terminal's Ctrl-C is for this process, which hands it on, once
            preexec_fn=_end_with_parent,
        ) as child,
    ):
        signals.hand_to(child)
        assert child.stderr is not None
        reader = threading.Thread(target=_pass_on, args=(child.stderr, log), daemon=True)
        reader.start()
        code = _waited(child, log, signals)
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)  # models' processes may outlive a killed server
        reader.join()
    regions.remove_own()
    return code if code >= 0 else 128 - code


def _waited(child: subprocess.Popen[bytes], log: Log, signals: "_Signals") -> int:
    """Waits for the end. A server whose Python process has died answers every request of its model
    with an error and still says that it is ready: it is ended, so that it can be started again.
    """
    before: set[int] = set()
    while True:
        with suppress(subprocess.TimeoutExpired):
            return child.wait(WATCH_S)
        dead = _dead_children(child.pid)
        # The server waits for those that end as they should, a moment later.
        if dead & before and not signals.handed:
            log.dead = True
            child.terminate()
            return _ended(child)
        before = dead


def _ended(child: subprocess.Popen[bytes]) -> int:
    """Waits for a broken server that was asked to end, but not for long."""
    try:
        return child.wait(BROKEN_EXIT_S)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()


def _dead_children(pid: int) -> set[int]:
    """Finds the processes that `pid` started and that have ended without being waited for."""
    found = set()
    with suppress(OSError):
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            for number in children.read_text().split():
                state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
                if state == "Z":
                    found.add(int(number))
    return found


def _pass_on(stream: BinaryIO, log: Log) -> None:
    for line in stream:
        with suppress(OSError):
            sys.stderr.buffer.write(line)
            sys.stderr.flush()
        log.read(line.decode(errors="replace"))


class _Signals:
    """Hands signals to a child, those that came before it was there, too."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._early: list[int] = []
        self.handed = False
        """Whether the child was asked to end."""

    def handle(self, number: int, _frame: FrameType | None) -> None:
        """Handles a signal of this process."""
        self.handed = True
        ending = signal.SIGINT if number == signal.SIGINT else signal.SIGTERM
        if self._child is None:
            self._early.append(ending)
        else:
            self._child.send_signal(ending)

    def hand_to(self, child: subprocess.Popen[bytes]) -> None:
        """Says which child."""
        self._child = child
        for number in self._early:
            child.send_signal(number)


@contextmanager
def _signals() -> Iterator[_Signals]:
    """Handles the interrupts of this process; those that are ignored stay ignored."""
    signals = _Signals()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, signals.handle)
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
