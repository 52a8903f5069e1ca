"""Every instruction set of the compiled passes, whichever of them this machine would choose.

Nothing of them is imported before a test asks: machines with a GPU may lack them.
"""

import json
import platform
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

SETS = ("generic", "avx2", "avx512") if platform.machine() == "x86_64" else ("neon",)
SOURCES = Path(__file__).parents[3] / "runtime" / "cpu" / "native"
FLAGS = json.loads((SOURCES / "flags.json").read_text())
CHOOSER = """
#include "pixels.c"
void choose_set(int set) { choose(set); }
"""


def shipped() -> tuple[Any, Any]:
    """cffi's (ffi, lib) of the module as installed."""
    from pcsr.runtime.cpu import _pixels

    return _pixels.ffi, _pixels.lib


def chosen(ffi: Any, lib: Any) -> int:  # noqa: ANN401
    """Index of the set in use; those before it run here too."""
    return SETS.index(ffi.string(lib.pcsr_instructions()).decode())


def build(folder: Path, compiler: str = "cc") -> tuple[Any, Any]:
    """The same passes with `choose_set` to overrule their choice: cffi's (ffi, lib)."""
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler} to build the instruction sets with")
    return opened(compiled(folder, [compiler], FLAGS["every"]))


def compiled(folder: Path, compiler: Sequence[str], flags: Sequence[str]) -> Path:
    """Compiles `CHOOSER` and the passes to a library. flags: of every source, beside its own."""
    chooser, library = folder / "chooser.c", folder / "chooser.so"
    chooser.write_text(CHOOSER)
    made = objects(folder, chooser, compiler, [*flags, "-fPIC"])
    link(library, made, compiler, [*flags, "-shared"])
    return library


def objects(
    folder: Path,
    chooser: Path,
    compiler: Sequence[str],
    flags: Sequence[str],
    machine: str | None = None,
) -> list[Path]:
    """Compiles the passes with `chooser`, which includes pixels.c, in its place."""
    own = FLAGS.get(machine or platform.machine(), {})
    made = []
    for source in (chooser, SOURCES / "instructions.c", *sorted(SOURCES.glob("passes_*.c"))):
        made.append(folder / f"{source.stem}.o")
        options = [*flags, *own.get(source.name, []), f"-I{SOURCES}", "-c", "-o", str(made[-1])]
        subprocess.run([*compiler, *options, str(source)], check=True, capture_output=True)
    return made


def link(
    made: Path, parts: Sequence[Path], compiler: Sequence[str], options: Sequence[str]
) -> None:
    """Links a program or a library."""
    command = [*compiler, *options, "-o", str(made), *map(str, parts), "-lm"]
    subprocess.run(command, check=True, capture_output=True)


def opened(library: Path) -> tuple[Any, Any]:
    """A library built from `CHOOSER`: cffi's (ffi, lib)."""
    from cffi import FFI

    ffi = FFI()
    header = (SOURCES / "pixels.h").read_text(encoding="utf-8")
    declarations = [line for line in header.splitlines() if not line.startswith("#")]
    ffi.cdef("\n".join([*declarations, "void choose_set(int set);"]))
    return ffi, ffi.dlopen(str(library))
