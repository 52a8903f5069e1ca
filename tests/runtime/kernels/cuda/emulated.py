"""Runs a CUDA kernel on the CPU, by `emulation.h`: the same file, compiled as C++."""

import hashlib
import os
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

HEADER = Path(__file__).with_name("emulation.h")
WARNINGS = ("-Wall", "-Wno-unknown-pragmas", "-Werror")
CHECKED = ("-O1", "-g1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
FAST = ("-O2",)

Argument = np.ndarray[Any, Any] | int | float | None


class EmulationError(Exception):
    """What the kernel did wrong: one line, or the report of a sanitizer."""


@dataclass(frozen=True)
class EmulatedKernel:
    """A kernel of a file that includes nothing. defines: macros, as a compiler takes them by -D.
    checked: with the address sanitizer and that of undefined behaviour, about ten times slower.
    """

    source: Path
    name: str
    defines: Mapping[str, object] = field(default_factory=dict)
    checked: bool = True

    def launch(
        self, grid: tuple[int, int, int], threads: int, shared_bytes: int, *arguments: Argument
    ) -> list[np.ndarray[Any, Any]]:
        """Runs the kernel with these arguments. Arrays become pointers, None a null pointer.

        Returns the arrays among the arguments, as the kernel left them; raises EmulationError.
        """
        program = self._program()
        with tempfile.TemporaryDirectory() as folder:
            words = [_word(Path(folder) / str(i), value) for i, value in enumerate(arguments)]
            command = [program, *map(str, (*grid, threads, shared_bytes)), *words]
            _run(command, {"ASAN_OPTIONS": "detect_leaks=0"})
            return [
                np.fromfile(word, value.dtype).reshape(value.shape)
                for word, value in zip(words, arguments, strict=True)
                if isinstance(value, np.ndarray)
            ]

    def _program(self) -> str:
        """The path of the program; it is kept for as long as what it is made of stays the same."""
        defines = [f"-D{name}={value}" for name, value in self.defines.items()]
        flags = [*(CHECKED if self.checked else FAST), *WARNINGS, *defines]
        parts = [_version(), self.name, *flags, HEADER.read_text(), self.source.read_text()]
        key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]
        folder = Path(tempfile.gettempdir()) / f"pcsr-emulated-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        program = folder / key
        if not program.exists():
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                main = Path(scratch) / "main.cpp"
                main.write_text(
                    f'#include "{HEADER}"\n#include "{self.source.resolve()}"\n'
                    f"int main(int n, char** v) {{ return emulation::main({self.name}, n, v); }}\n"
                )
                made = Path(scratch) / "program"
                _run([_compiler(), "-std=c++17", *flags, str(main), "-o", str(made)], {})
                made.replace(program)
        return str(program)


def _word(path: Path, value: Argument) -> str:
    if value is None:
        return "null"
    if isinstance(value, np.ndarray):
        value.tofile(path)
        return str(path)
    return repr(value)


def _compiler() -> str:
    return os.environ.get("CXX", "g++")


@cache
def _version() -> str:
    return subprocess.run(
        [_compiler(), "--version"], capture_output=True, text=True, check=True
    ).stdout


def _run(command: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "makecontext/swapcontext" not in line]
        raise EmulationError("\n".join(lines) or f"{command[0]} ended with {done.returncode}")
