"""The commands as a user runs them, and what a refusal has to look like."""

import re
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from click.testing import CliRunner

HELP = ("Usage:", "Try '")
FOLDER_OF_TEST = re.compile(r"\S*/test_[^/\s]*/")  # its name must not match the pattern
COUNTED = re.compile(r"[^:]+: \d+ of \d+( \(\S+\))?")  # after a second of a busy machine
NOISE = ("Traceback", "Exception ignored", "UserWarning", "RuntimeWarning", "cffi callback")


@dataclass(frozen=True)
class Ended:
    """How a command ended and what it printed."""

    code: int
    stdout: str
    stderr: str

    @property
    def complaints(self) -> list[str]:
        """Lines of stderr that are neither progress ("exporting …", "measuring: 2 of 9") nor a
        pointer to the help.
        """
        return [line for line in self.stderr.splitlines() if line and not _is_progress(line)]


def export(*args: object) -> Ended:
    """Runs pcsr-export in this process; an exception that it does not handle is raised here."""
    from pcsr.export.cli import main

    return run(main, args)


def upscale(*args: object) -> Ended:
    """Runs pcsr-upscale in this process; an exception that it does not handle is raised here."""
    from pcsr.runtime.files.cli import main

    return run(main, args)


def build(*args: object) -> Ended:
    """Runs pcsr-build in this process; an exception that it does not handle is raised here."""
    from pcsr.runtime.tensorrt.cli import main

    return run(main, args)


def profile(*args: object) -> Ended:
    """Runs pcsr-profile in this process; an exception that it does not handle is raised here."""
    from pcsr.runtime.profiler.cli import main

    return run(main, args)


def start(name: str, *args: object, **options: Any) -> subprocess.Popen[str]:  # noqa: ANN401
    """Starts a command as a process, its output piped unless `options` differ."""
    rooms = {
        "pcsr-export": "export",
        "pcsr-upscale": "runtime.files",
        "pcsr-build": "runtime.tensorrt",
    }
    room = rooms[name]
    # Where the tests themselves run in the background, a shell has them ignore Ctrl-C.
    code = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code += f"from pcsr.{room}.cli import main; sys.exit(main(prog_name={name!r}))"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    command = [sys.executable, "-c", code, *map(str, args)]
    return subprocess.Popen(command, text=True, **(pipes | options))


def end(process: subprocess.Popen[str], timeout_s: float = 60) -> Ended:
    """Waits for a started command."""
    stdout, stderr = process.communicate(timeout=timeout_s)
    return Ended(process.returncode, stdout or "", stderr or "")


def assert_refused(ended: Ended, code: int, pattern: str) -> None:
    """Exit code and exactly one line, which matches `pattern` and is fit for a user."""
    assert len(ended.complaints) == 1, ended.stderr
    line = FOLDER_OF_TEST.sub("", ended.complaints[0])
    assert re.match(r"(?i)error: ", line)
    assert re.search(pattern, line), f"{pattern!r} is not in {line!r}"
    assert len(line) < 700
    assert_clean(ended)
    assert ended.stdout == ""
    assert ended.code == code


def assert_clean(ended: Ended) -> None:
    """No traceback and no noise of libraries."""
    assert not [word for word in NOISE if word in ended.stderr], ended.stderr


def snapshot(folder: Path) -> dict[str, bytes | None]:
    """All that lies below a folder, hidden files too; None for a folder."""
    found = sorted(folder.rglob("*"))
    return {
        str(path.relative_to(folder)): None if path.is_dir() else path.read_bytes()
        for path in found
    }


def _is_progress(line: str) -> bool:
    if line.startswith("error"):
        return False
    return line.startswith(HELP) or line.endswith("…") or bool(COUNTED.fullmatch(line))


def run(command: click.Command, args: tuple[object, ...]) -> Ended:
    """Runs a command in this process; an exception that it does not handle is raised here."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = CliRunner().invoke(command, [str(arg) for arg in args], catch_exceptions=False)
    shown = [w for w in caught if issubclass(w.category, UserWarning | RuntimeWarning)]
    noise = "".join(f"{w.category.__name__}: {w.message}\n" for w in shown)
    return Ended(result.exit_code, result.stdout, result.stderr + noise)
