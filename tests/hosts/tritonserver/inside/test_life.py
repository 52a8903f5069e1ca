"""A server that is killed, a model's process that is, and models that cannot be loaded."""

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from pcsr import Upscaler

from .client import Client, pixels_of, sent
from .serving import COMMAND, Serving, free_ports, is_running, serving, write_repository

IMAGE = pixels_of((20, 30))
SHARED = Path("/dev/shm")


@pytest.fixture
def models(bundles: dict[str, str], tmp_path: Path) -> Path:
    return write_repository({"two": bundles["two"]}, tmp_path / "models")


@pytest.fixture
def alone(models: Path, tmp_path: Path) -> Iterator[Serving]:
    with serving(models, tmp_path / "log") as running:
        yield running


def answer(server: Serving) -> np.ndarray:
    client = Client("http", server.http)
    try:
        found: np.ndarray = client("two", sent(IMAGE))["RESULT"]
    finally:
        client.close()
    return found


def wait_for_end(pids: list[int]) -> None:
    end = time.monotonic() + 30
    while any(map(is_running, pids)):
        assert time.monotonic() < end, [pid for pid in pids if is_running(pid)]
        time.sleep(0.05)


def regions(server: Serving) -> list[Path]:
    return list(SHARED.glob(f"pcsr_{server.process.pid}_*"))


def test_a_killed_server_is_started_again(alone: Serving, upscalers: dict[str, Upscaler]) -> None:
    """Its models' processes end with it; nothing of it is left that the next one stumbles over."""
    expected = upscalers["two"](IMAGE).image
    assert np.array_equal(answer(alone), expected)
    assert regions(alone)
    pids = [alone.server_pid, *alone.model_pids]
    os.kill(alone.server_pid, signal.SIGKILL)
    assert alone.process.wait(30) == 137
    assert "error: the server was killed by SIGKILL" in alone.log.read_text()
    wait_for_end(pids)
    assert regions(alone) == []
    alone.start()
    assert np.array_equal(answer(alone), expected)


def test_a_killed_command_ends_the_server(alone: Serving, upscalers: dict[str, Upscaler]) -> None:
    pids = [alone.server_pid, *alone.model_pids]
    alone.process.kill()
    alone.process.wait()
    wait_for_end(pids)
    alone.start()
    assert np.array_equal(answer(alone), upscalers["two"](IMAGE).image)


def test_a_killed_model_ends_the_server(alone: Serving) -> None:
    """The server itself would answer each request with an error, and say that it is ready."""
    os.kill(alone.model_pids[0], signal.SIGKILL)
    with pytest.raises((InferenceServerException, OSError)):
        answer(alone)
    assert alone.process.wait(60) == 1
    last = alone.log.read_text().splitlines()[-1]
    assert last.startswith("error: a model's Python process died")


def test_requests_of_a_killed_model_do_not_keep_the_server(models: Path, tmp_path: Path) -> None:
    """It takes no connections while it waits for them, up to --exit-timeout-s."""
    image = pixels_of((1500, 2000))

    def ask() -> None:
        client = Client("http", server.http)
        with suppress(Exception):  # however the server says it
            client("two", sent(image))
        client.close()

    with serving(models, tmp_path / "log", ["--exit-timeout-s=60"]) as server:
        asking = threading.Thread(target=ask)
        asking.start()
        end = time.monotonic() + 20
        while not sum(server.read_metrics("pcsr_pending_requests").values()):
            assert time.monotonic() < end
            time.sleep(0.01)
        os.kill(server.model_pids[0], signal.SIGKILL)
        assert server.process.wait(30) == 1
        asking.join()


def test_what_is_left_of_a_killed_command_and_server_is_removed(alone: Serving) -> None:
    answer(alone)
    pids = [alone.server_pid, *alone.model_pids]
    alone.process.kill()
    os.kill(pids[0], signal.SIGKILL)
    alone.process.wait()
    left = regions(alone)
    assert left
    for pid in pids[1:]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait_for_end(pids)
    alone.start()
    assert not any(path.exists() for path in left)


def test_it_ends_after_its_requests(alone: Serving, upscalers: dict[str, Upscaler]) -> None:
    """SIGTERM: what is being computed is answered first, by HTTP and gRPC."""
    image, found = pixels_of((500, 700)), dict[str, Any]()

    def ask(kind: str) -> None:
        client = Client(kind, getattr(alone, kind))
        found[kind] = client("two", sent(image))["RESULT"]
        client.close()

    threads = [threading.Thread(target=ask, args=(kind,)) for kind in ("http", "grpc")]
    for thread in threads:
        thread.start()
    end = time.monotonic() + 20
    while sum(alone.read_metrics("pcsr_pending_requests").values()) < len(threads):
        assert time.monotonic() < end
        time.sleep(0.01)
    alone.process.send_signal(signal.SIGTERM)
    for thread in threads:
        thread.join()
    expected = upscalers["two"](image).image
    assert found.keys() == {"http", "grpc"}
    assert all(np.array_equal(one, expected) for one in found.values())
    assert alone.process.wait(60) == 0
    assert regions(alone) == []


def failed_start(models: Path) -> subprocess.CompletedProcess[str]:
    http, grpc, metrics = free_ports(3)
    ports = [f"--http-port={http}", f"--grpc-port={grpc}", f"--metrics-port={metrics}"]
    line = [COMMAND, "start", str(models), *ports]
    return subprocess.run(line, capture_output=True, text=True, check=False, timeout=120)


def test_models_that_cannot_be_loaded_say_why(bundles: dict[str, str], tmp_path: Path) -> None:
    """In the last line: the server's own last line says only that some model failed."""
    expected = {
        "manifest": "manifest.json",
        "graph": "backbone.onnx",
        "nothing": "there is no bundle in",
        "parameter": "threads must",
    }
    models = write_repository(dict.fromkeys(expected, bundles["two"]), tmp_path / "models")
    (models / "manifest/1/bundle/manifest.json").write_text("{")
    next((models / "graph").rglob("backbone.onnx")).write_bytes(b"no graph")
    shutil.rmtree(models / "nothing/1/bundle")
    with (models / "parameter/config.pbtxt").open("a") as config:
        config.write('parameters { key: "threads", value: { string_value: "-3" } }\n')
    done = failed_start(models)
    assert done.returncode == 1
    begin, listed = done.stderr.splitlines()[-1].split("model ", 1)
    reasons = listed.split("; model ")
    assert begin == "error: the server ended with 1: "
    assert len(reasons) == len(expected)
    found = dict(reason.split(": cannot serve ", 1) for reason in reasons)
    for name, why in expected.items():
        assert why in found[name]


def test_a_configuration_that_cannot_be_read_is_said(models: Path) -> None:
    (models / "two" / "config.pbtxt").write_text("name: ")
    done = failed_start(models)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: the server ended with 1")


def test_a_port_in_use(alone: Serving) -> None:
    line = [COMMAND, "start", str(alone.models), f"--http-port={alone.http}"]
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 3
    assert done.stderr.startswith(f"error: cannot listen on 127.0.0.1:{alone.http} (HTTP)")
