"""What pcsr-serve start checks before a server runs, and how it runs one: a stand-in for it."""

import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pcsr.errors import BackendError, UsageError
from pcsr.tritonserver import regions
from pcsr.tritonserver.log import Log
from pcsr.tritonserver.server import find_server
from pcsr.tritonserver.start import Endpoints, check_repository

Program = Callable[[str], Path]
FAILED = (
    "E1127 16:37:46.225870 30267 model_lifecycle.cc:642] \"failed to load 'bad' version 1: "
    'Internal: TritonModelException: /x/carn is not a bundle; make \\"one\\" with pcsr-export'
    '\\n\\nAt:\\n  /models/bad/1/model.py(4): initialize\\n"\n'
)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    (folder / "carn").mkdir(parents=True)
    (folder / "carn" / "config.pbtxt").touch()
    return folder


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """Makes a program that stands in for the server: a script of the shell."""

    def made(script: str) -> Path:
        path = tmp_path / "tritonserver"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    return made


def command(models: Path, server: Path, *more: str) -> list[str]:
    ports = [f"--{name}-port={free_port()}" for name in ("http", "grpc", "metrics")]
    code = "from pcsr.tritonserver.cli.start import start; start()"
    return [sys.executable, "-c", code, str(models), f"--server={server}", *ports, *more]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def started(line: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(line, capture_output=True, text=True, check=False, timeout=60)


def test_arguments_reach_the_server(models: Path, program: Program) -> None:
    done = started(command(models, program('printf "%s\\n" "$@"'), "--", "--log-verbose=1"))
    given = done.stdout.splitlines()
    assert given[:2] == [f"--model-repository={models}", "--http-address=127.0.0.1"]
    assert given[-1] == "--log-verbose=1"
    assert "--exit-timeout-secs=30" in given


@pytest.mark.parametrize("code", [0, 1, 7])
def test_the_exit_code_is_the_server_s(models: Path, program: Program, code: int) -> None:
    assert started(command(models, program(f"exit {code}"))).returncode == code


@pytest.mark.parametrize(
    ("name", "code", "why"),
    [
        ("KILL", 137, " (by the system, for want of memory, or by someone)"),
        ("SEGV", 139, " (a fault of Triton)"),
        ("USR1", 138, ""),
    ],
)
def test_a_killed_server_is_said(
    models: Path, program: Program, name: str, code: int, why: str
) -> None:
    done = started(command(models, program(f"kill -{name} $$")))
    assert (done.returncode, done.stderr) == (
        code,
        f"error: the server was killed by SIG{name}{why}; start it again\n",
    )


def test_other_codes_are_explained_by_the_server(models: Path, program: Program) -> None:
    done = started(command(models, program("exit 200")))
    assert (done.returncode, done.stderr) == (
        200,
        "error: the server ended with 200; its last lines that begin with E say why\n",
    )


def test_a_model_that_was_not_loaded_is_no_reason_once_the_others_are_served() -> None:
    log = Log(lambda _: None)
    for line in (FAILED, "Started GRPCInferenceService at", "Started HTTPService at"):
        log.read(line)
    assert log.why(139) == "the server was killed by SIGSEGV (a fault of Triton); start it again"


def test_the_last_line_says_why_a_model_was_not_loaded(models: Path, program: Program) -> None:
    server = program(f"cat >&2 <<'END'\n{FAILED}END\necho table >&2; exit 1")
    done = started(command(models, server))
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == FAILED.rstrip()
    assert done.stderr.splitlines()[-1] == (
        "error: the server ended with 1: model bad: /x/carn is not a bundle; make "
        '"one" with pcsr-export'
    )


@pytest.mark.parametrize(
    ("sent", "arrives"), [("SIGINT", "INT"), ("SIGTERM", "TERM"), ("SIGHUP", "TERM")]
)
def test_signals_are_handed_on(models: Path, program: Program, sent: str, arrives: str) -> None:
    traps = "\n".join(f"trap 'echo {name}; exit 0' {name}" for name in ("INT", "TERM"))
    line = command(models, program(f"{traps}\necho up\nwhile :; do sleep 0.05; done"))
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "up\n"
        parent.send_signal(getattr(signal, sent))
        assert parent.stdout.read() == f"{arrives}\n"
        assert parent.wait(30) == 0


def test_a_killed_parent_ends_the_server(models: Path, program: Program) -> None:
    server = program("trap 'echo ended; exit 0' TERM\necho up\nwhile :; do sleep 0.05; done")
    with subprocess.Popen(command(models, server), stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "up\n"
        parent.kill()
        assert parent.stdout.read() == "ended\n"


def test_a_dead_python_process_ends_the_server(models: Path, program: Program) -> None:
    """The server does not notice; a stand-in that never waits for its children does not, either."""
    script = "import os, time\nif os.fork():\n    time.sleep(60)\nos._exit(9)"
    done = started(command(models, program(f"exec {sys.executable} -c '{script}'")))
    assert done.returncode == 1
    assert done.stderr.startswith("error: a model's Python process died")
    assert len(done.stderr.splitlines()) == 1


def test_a_server_whose_python_process_died_may_not_wait(models: Path, program: Program) -> None:
    """As the server does, for requests of the dead process, while it takes no connections."""
    script = (
        "import os, signal, time\nif os.fork():\n"
        "    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n    time.sleep(60)\nos._exit(9)"
    )
    begin = time.monotonic()
    done = started(command(models, program(f"exec {sys.executable} -c '{script}'")))
    assert time.monotonic() - begin < 30
    assert done.returncode == 1
    assert done.stderr.startswith("error: a model's Python process died")


def test_what_a_killed_command_left_is_removed_by_the_next(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    monkeypatch.setattr(regions, "FOLDER", tmp_path / "shm")
    namespace = regions.prefix().split("_")[2]
    left = [f"pcsr_{gone.pid}_{namespace}_{n}" for n in "ab"]
    others = [
        f"pcsr_{os.getpid()}_{namespace}_a",
        f"pcsr_1_{namespace}_a",
        f"pcsr_{gone.pid}_1_of_another_container",
        "pcsr_images",
        f"triton_{gone.pid}_{namespace}_a",
    ]
    (tmp_path / "shm").mkdir()
    for name in (*left, *others):
        (tmp_path / "shm" / name).touch()
    regions.remove_abandoned()
    assert sorted(path.name for path in (tmp_path / "shm").iterdir()) == sorted(others)
    regions.remove_own()
    assert sorted(path.name for path in (tmp_path / "shm").iterdir()) == sorted(others[1:])


def test_a_start_removes_what_was_left(models: Path, program: Program) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    left = regions.FOLDER / f"pcsr_{gone.pid}_{regions.prefix().split('_')[2]}_left"
    left.touch()
    assert started(command(models, program("exit 0"))).returncode == 0
    assert not left.exists()


def test_a_python_process_that_is_waited_for_later_ends_nothing(
    models: Path, program: Program
) -> None:
    """As those of a model that cannot be loaded."""
    script = (
        "import os, time\nif os.fork():\n    time.sleep(1.5)\n    os.wait()\n    time.sleep(1.5)"
    )
    done = started(command(models, program(f"exec {sys.executable} -c '{script}'")))
    assert (done.returncode, done.stderr) == (0, "")


def test_a_port_in_use_is_named(models: Path, program: Program) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = started([*command(models, program("exit 0")), f"--grpc-port={port}"])
    assert (done.returncode, done.stderr) == (
        3,
        f"error: cannot listen on 127.0.0.1:{port} (gRPC): Address already in use; name another "
        "by --grpc-port\n",
    )


@pytest.mark.parametrize("host", ["nosuch.invalid", "192.0.2.1"])
def test_an_address_that_is_not_here_is_named(models: Path, program: Program, host: str) -> None:
    done = started([*command(models, program("exit 0")), f"--host={host}"])
    assert done.returncode == 3
    assert done.stderr.startswith(f"error: cannot listen on {host}:")
    assert done.stderr.endswith("; name another by --host\n")
    assert len(done.stderr.splitlines()) == 1


def test_ports_differ() -> None:
    with pytest.raises(UsageError, match=r"three different ports, found \[1, 1, 8002\]"):
        Endpoints(http_port=1, grpc_port=1).check()


def test_a_server_that_is_not_there_is_named(models: Path, tmp_path: Path) -> None:
    done = started(command(models, tmp_path / "nowhere"))
    assert done.returncode == 3
    assert (
        done.stderr
        == f"error: expected the program tritonserver, found none at {tmp_path}/nowhere\n"
    )


@pytest.mark.skipif(
    Path("/opt/tritonserver").exists(), reason="a server is installed in this image"
)
def test_without_a_server_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.devnull)
    with pytest.raises(BackendError, match=r"found no tritonserver: .*pip install '\.\[cpu,serve"):
        find_server()


def test_what_is_no_repository(tmp_path: Path, single_bundle: Path) -> None:
    with pytest.raises(UsageError, match=r"no such folder\); make one with pcsr-serve repository"):
        check_repository(str(tmp_path / "nowhere"))
    with pytest.raises(UsageError, match=r"no folder in it with a config.pbtxt"):
        check_repository(str(tmp_path))
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(UsageError, match=r"file \(a file, not a folder\); make one with"):
        check_repository(str(file))
    with pytest.raises(UsageError, match=f"found the bundle {single_bundle}"):
        check_repository(str(single_bundle))
    check_repository("s3://models")


def test_the_log_says_when_it_is_ready() -> None:
    said: list[list[str]] = []
    log = Log(lambda log: said.append(log.loaded))
    log.read("I1127 model_lifecycle.cc:839] \"successfully loaded 'carn'\"\n")
    log.read('I1127 grpc_server.cc:2558] "Started GRPCInferenceService at 127.0.0.1:8001"\n')
    assert said == []
    log.read('I1127 http_server.cc:4713] "Started HTTPService at 127.0.0.1:8000"\n')
    assert said == [["carn"]]
    assert log.why(0) is None
