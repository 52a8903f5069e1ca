"""Runs pcsr-serve for as long as a block lasts."""

import contextlib
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.error import URLError
from urllib.request import urlopen

from pcsr.errors import BackendError

STARTS_WITHIN_S = 120


class Addresses(NamedTuple):
    """Where a server listens: host and port of each."""

    http: str
    grpc: str
    metrics: str


@contextlib.contextmanager
def serving(command: Path, models: Path, log: Path) -> Iterator[Addresses]:
    """Runs a server on free ports of this machine.

    Args:
        command: the program pcsr-serve.
        models: a model repository.
        log: what the server writes goes into this file.

    Raises:
        BackendError: it did not start.
    """
    ports = free_ports(3)
    named = zip(Addresses._fields, ports, strict=True)
    line = [str(command), "start", str(models), *(f"--{name}-port={port}" for name, port in named)]
    with log.open("wb") as opened, subprocess.Popen(line, stdout=opened, stderr=opened) as process:
        try:
            addresses = Addresses(*(f"127.0.0.1:{port}" for port in ports))
            _wait_until_ready(process, addresses.http, log)
            yield addresses
        finally:
            process.send_signal(signal.SIGTERM)


def free_ports(count: int) -> list[int]:
    """Finds ports that nobody listens on."""
    with contextlib.ExitStack() as stack:
        servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
        for server in servers:
            stack.enter_context(server)
        return [server.getsockname()[1] for server in servers]


def _wait_until_ready(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    end = time.monotonic() + STARTS_WITHIN_S
    while process.poll() is None and time.monotonic() < end:
        with contextlib.suppress(URLError), urlopen(f"http://{address}/v2/health/ready"):
            return
        time.sleep(0.1)
    said = log.read_text(errors="replace").splitlines() or ["it said nothing"]
    raise BackendError(f"the server did not start: {said[-1].removeprefix('error: ')}")
