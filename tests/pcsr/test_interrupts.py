"""Signals and closed streams, as the console scripts meet them."""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pcsr.atomic import atomic_file
from pcsr.interrupts import MESSAGE, end_interrupted, interrupts_deferred

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
SLOW_COMMAND = """
import sys, time
import click
from pcsr.cli import command_errors
{at_import}

@click.command()
@command_errors
def main():
    {body}
"""
RUN = "import sys; sys.path.insert(0, sys.argv.pop(1)); from pcsr.interrupts import run_command; "

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="signals of Linux")


def command(folder: Path, at_import: str = "", body: str = "pass") -> list[str]:
    """Writes a command and gives the line that runs it."""
    (folder / "slow_command.py").write_text(SLOW_COMMAND.format(at_import=at_import, body=body))
    return [sys.executable, "-c", RUN + "run_command('slow_command')", str(folder)]


def ended(
    line: list[str], *numbers: signal.Signals, before: Callable[[], object] | None = None
) -> tuple[int, str]:
    """Sends signals to a command once it has printed a line; gives its exit code and stderr."""

    def prepare() -> None:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if before is not None:
            before()

    pipe = subprocess.PIPE
    process = subprocess.Popen(line, stdout=pipe, stderr=pipe, text=True, preexec_fn=prepare)
    assert process.stdout
    process.stdout.readline()
    for number in numbers:
        process.send_signal(number)
        time.sleep(0.05)
    _, stderr = process.communicate(timeout=30)
    return process.returncode, stderr


WAIT = "print(flush=True); time.sleep(20)"
SWALLOWED = """
try:
    print(flush=True); time.sleep(20)
except BaseException as error:
    raise ImportError("cannot load") from error
"""


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize(
    ("at_import", "body"), [(WAIT, "pass"), ("", WAIT), (SWALLOWED, "pass")], ids=str
)
def test_interrupted_in_one_line(
    number: signal.Signals, at_import: str, body: str, tmp_path: Path
) -> None:
    assert ended(command(tmp_path, at_import, body), number) == (130, f"{MESSAGE}\n")


@pytest.mark.parametrize("number", SIGNALS)
def test_an_import_within_the_body(number: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "large_module.py").write_text("import time\n" + SWALLOWED)
    line = command(tmp_path, body="import large_module")
    assert ended(line, number) == (130, f"{MESSAGE}\n")


def test_an_interrupt_that_becomes_another_error(tmp_path: Path) -> None:
    body = SWALLOWED.strip().replace("\n", "\n    ")
    assert ended(command(tmp_path, body=body), signal.SIGTERM) == (130, f"{MESSAGE}\n")


@pytest.mark.parametrize("number", SIGNALS)
def test_an_ignored_signal_stays_ignored(number: signal.Signals, tmp_path: Path) -> None:
    body = "print(flush=True); time.sleep(0.5)"
    line = command(tmp_path, body=body)
    code = ended(line, number, number, before=lambda: signal.signal(number, signal.SIG_IGN))
    assert code == (0, "")


def test_a_second_interrupt_does_not_wait(tmp_path: Path) -> None:
    body = f"""
    from pathlib import Path
    from pcsr.atomic import atomic_file
    with atomic_file(Path({str(tmp_path / "out")!r})) as temporary:
        try:
            {WAIT}
        finally:
            time.sleep(20)"""
    start = time.monotonic()
    found = ended(command(tmp_path, body=body.strip()), signal.SIGINT, signal.SIGINT)
    assert found == (130, f"{MESSAGE}\n")
    assert time.monotonic() - start < 15
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".pcsr")]


def test_an_interrupt_after_the_last_output_changes_nothing(tmp_path: Path) -> None:
    body = f"""
    from pathlib import Path
    from pcsr.atomic import atomic_file
    from pcsr.interrupts import expect_outputs
    expect_outputs(1)
    with atomic_file(Path({str(tmp_path / "out")!r})):
        pass
    print(flush=True); time.sleep(0.5)"""
    assert ended(command(tmp_path, body=body.strip()), signal.SIGTERM) == (0, "")
    assert (tmp_path / "out").exists()


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)])
def test_closed_streams(closed: tuple[int, ...], tmp_path: Path) -> None:
    """What is printed goes nowhere, above all not into the files that are written meanwhile."""
    body = f"""
    with open({str(tmp_path / "out")!r}, "w") as file:
        print("out"); print("error", file=sys.stderr); sys.stderr.isatty(); sys.stdin.read()
        sys.stdout.flush(); file.write("whole")"""

    def close() -> None:
        for number in closed:
            os.close(number)

    done = subprocess.run(
        command(tmp_path, body=body.strip()),
        stdin=subprocess.DEVNULL,
        preexec_fn=close,
        check=False,
    )
    assert done.returncode == 0
    assert (tmp_path / "out").read_text() == "whole"


@pytest.mark.parametrize(
    ("raised", "code", "message"),
    [
        ("MemoryError()", 1, "out of memory"),
        ('RuntimeError("can\'t start new thread")', 1, "cannot start another thread"),
        ("OSError(28, 'No space left on device')", 1, "cannot print the result: No space"),
        ("OSError(36, 'File name too long', 'x.png')", 2, "cannot use x.png: File name too long"),
        ("OSError(5, 'Input/output error', 'x.png')", 1, "cannot use x.png: Input/output error"),
    ],
)
def test_errors_in_one_line(raised: str, code: int, message: str, tmp_path: Path) -> None:
    found, stderr = ended(command(tmp_path, body=f"raise {raised}"))
    assert found == code
    assert stderr.startswith(f"error: {message}")
    assert stderr.count("\n") == 1


def test_what_libraries_raise_under_a_limit_of_memory(tmp_path: Path) -> None:
    line = command(tmp_path, body="raise RuntimeError('could not create a primitive')")
    limit = 2**32
    code, stderr = ended(
        line, before=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    )
    assert code == 1
    assert stderr == (
        "error: RuntimeError: could not create a primitive; memory is limited to 4096 MiB "
        "(ulimit -v): raise the limit\n"
    )


def test_a_reader_that_has_enough(tmp_path: Path) -> None:
    body = "[print('x' * 1000) for _ in range(1000)]"
    line = " ".join(f"'{part}'" if " " not in part else f'"{part}"' for part in command(tmp_path))
    command(tmp_path, body=body)
    shell = f"set -o pipefail; {line} | head -1"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.count("\n") == 1


@pytest.mark.parametrize("number", SIGNALS)
def test_a_deferred_interrupt_reaches_the_handler_that_was_there(number: signal.Signals) -> None:
    seen: list[int] = []
    before = signal.signal(number, lambda arrived, frame: seen.append(arrived))
    try:
        with interrupts_deferred():
            signal.raise_signal(number)
            assert seen == []
        assert seen == [number]
    finally:
        signal.signal(number, before)


def test_an_ignored_interrupt_is_not_deferred() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interrupts_deferred():
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_forked_process_leaves_the_files_of_its_parent(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "out") as temporary:
        child = os.fork()
        if child == 0:
            end_interrupted()
            os._exit(0)
        os.waitpid(child, 0)
        assert temporary.exists()
