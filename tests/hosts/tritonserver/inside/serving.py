"""A running server, as an operator starts it."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

COMMAND = str(Path(sys.executable).parent / "pcsr-serve")
READY_S = 60
Answer = tuple[int, Mapping[str, str], bytes]


class Serving:
    """pcsr-serve start, with the repository `models`, on ports of its own."""

    def __init__(self, models: Path, log: Path, more: Sequence[str] = ()) -> None:
        self.models, self.log, self._more = models, log, more
        self.http, self.grpc, self.metrics = free_ports(3)
        self.start()

    def start(self) -> None:
        """Starts it, again on the same ports, and waits until it is ready."""
        ports = {"http": self.http, "grpc": self.grpc, "metrics": self.metrics}
        line = [COMMAND, "start", str(self.models), "--exit-timeout-s=20"]
        line += [f"--{name}-port={port}" for name, port in ports.items()]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([*line, *self._more], stderr=log)
        end = time.monotonic() + READY_S
        while not self.is_ready():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.05)

    def is_ready(self) -> bool:
        """Asks the server whether it takes requests."""
        try:
            return self.get("/v2/health/ready")[0] == 200
        except OSError:
            return False

    def get(self, path: str) -> Answer:
        """Sends a GET by plain HTTP."""
        return self._ask("GET", path, None, {})

    def post(self, path: str, body: bytes, headers: Mapping[str, str] | None = None) -> Answer:
        """Sends a POST by plain HTTP."""
        return self._ask("POST", path, body, headers or {})

    def read_metrics(self, name: str) -> dict[str, float]:
        """Gives the values of a metric by the text of their labels."""
        connection = http.client.HTTPConnection("127.0.0.1", self.metrics, timeout=30)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        return {
            labels: float(value)
            for labels, value in re.findall(rf"^{name}\{{(.*)\}} (\S+)$", text, re.MULTILINE)
        }

    @property
    def server_pid(self) -> int:
        """The process of tritonserver."""
        return _children(self.process.pid)[0]

    @property
    def model_pids(self) -> list[int]:
        """The Python processes of its models."""
        return _children(self.server_pid)

    def memory_kib(self) -> int:
        """What the models' processes hold of memory that is theirs alone."""
        return sum(_private_kib(pid) for pid in self.model_pids)

    def stop(self) -> int:
        """Asks it to end, and waits; returns its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)

    def _ask(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.http, timeout=60)
        try:
            connection.request(method, path, body, dict(headers))
            response = connection.getresponse()
            return response.status, dict(response.headers), response.read()
        finally:
            connection.close()


@contextmanager
def serving(models: Path, log: Path, more: Sequence[str] = ()) -> Iterator[Serving]:
    """Runs a server in a block."""
    server = Serving(models, log, more)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            assert server.stop() == 0, log.read_text()


def free_ports(count: int) -> list[int]:
    """Gives ports that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


def write_repository(bundles: Mapping[str, str], models: Path, *options: str) -> Path:
    """Runs pcsr-serve repository."""
    for name, path in bundles.items():
        line = [COMMAND, "repository", path, "--name", name, "-o", str(models), *options]
        done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
    return models


def error_of(body: bytes) -> str:
    """Gives the sentence of an error."""
    found: Any = json.loads(body)
    return str(found["error"])


def is_running(pid: int) -> bool:
    """Tells whether there is such a process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _children(pid: int) -> list[int]:
    found = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    return [int(number) for numbers in found for number in numbers.split()]


def _private_kib(pid: int) -> int:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(kib) for kib in re.findall(r"^Private_\w+:\s+(\d+)", text, re.MULTILINE))
