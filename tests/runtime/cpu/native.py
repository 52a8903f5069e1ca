"""Every instruction set of the compiled passes, whichever of them this machine would choose.

Nothing of them is imported before a test asks: machines with a GPU may lack them.
"""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

SETS = ("generic", "avx2", "avx512")
SOURCES = Path(__file__).parents[3] / "runtime" / "cpu" / "native"
FLAGS = ("-O3", "-fno-math-errno", "-fno-trapping-math")  # those of runtime/cpu/native/build.py
CHOOSER = """
static int chosen;
void choose(int set) { chosen = set; }
static int supports(const char *feature) { return feature[3] == '5' ? chosen > 1 : chosen > 0; }
#define __builtin_cpu_supports supports /* asked for avx512…, else for avx2 and fma */
#include "pixels.c"
"""


def shipped() -> tuple[Any, Any]:
    """cffi's (ffi, lib) of the module as installed."""
    from pcsr.runtime.cpu import _pixels

    return _pixels.ffi, _pixels.lib


def chosen(ffi: Any, lib: Any) -> int:  # noqa: ANN401
    """Index of the set in use; those before it run here too."""
    return SETS.index(ffi.string(lib.pcsr_instructions()).decode())


def build(folder: Path, compiler: str = "cc") -> tuple[Any, Any]:
    """The same passes with `choose` in front of their dispatch: cffi's (ffi, lib)."""
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler} to build the instruction sets with")
    source, library = folder / "chooser.c", folder / "chooser.so"
    source.write_text(CHOOSER)
    options = [*FLAGS, "-shared", "-fPIC", f"-I{SOURCES}", "-o", str(library), str(source), "-lm"]
    subprocess.run([compiler, *options], check=True, capture_output=True)
    return opened(library)


def opened(library: Path) -> tuple[Any, Any]:
    """A library built from `CHOOSER`: cffi's (ffi, lib)."""
    from cffi import FFI

    ffi = FFI()
    header = (SOURCES / "pixels.h").read_text(encoding="utf-8")
    declarations = [line for line in header.splitlines() if not line.startswith("#")]
    ffi.cdef("\n".join([*declarations, "void choose(int set);"]))
    return ffi, ffi.dlopen(str(library))
