"""The compiled passes with AddressSanitizer and UndefinedBehaviorSanitizer, in every instruction
set, for child processes.
"""

import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from tests.runtime.cpu import native

FLAGS = (
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
    "-fno-omit-frame-pointer",
    "-g",
    "-O1",
)
# Passes load whole vectors from float arrays, by types that say so; -O1 keeps the build short.
ENVIRONMENT = {
    "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1:allocator_may_return_null=1",
    "UBSAN_OPTIONS": "print_stacktrace=1:abort_on_error=1",
}


def build(folder: Path) -> Path:
    """Compiles the passes with gcc and returns the library."""
    return native.compiled(folder, ["gcc"], FLAGS)


def environment() -> dict[str, str]:
    """Variables of a child process that loads such a library."""
    # Without the C++ library, the first exception that ONNX Runtime throws would end the process.
    names = ("libasan.so", "libstdc++.so")
    return ENVIRONMENT | {"LD_PRELOAD": " ".join(str(_library(name)) for name in names)}


def _library(name: str) -> Path:
    command = ["gcc", f"-print-file-name={name}"]
    shown = subprocess.run(command, check=True, capture_output=True, text=True)
    return Path(shown.stdout.strip()).resolve()


def install(library: Path) -> Sequence[Callable[[], None]]:
    """Puts the library in the place of the shipped passes, before anything imports them; returns
    a function for each instruction set of this machine, which chooses it.
    """
    most = native.chosen(*native.shipped())
    ffi, lib = native.opened(library)
    shipped = sys.modules["pcsr.runtime.cpu._pixels"]
    shipped.ffi, shipped.lib = ffi, lib  # type: ignore[attr-defined]
    return [partial(lib.choose_set, index) for index in range(most + 1)]
