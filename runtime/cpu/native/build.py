"""Describes to cffi the extensions `pcsr.runtime.cpu._pixels`, the passes, and `_convolutions`;
setup.py names both.

Each instruction set is an object of its own, with the flags that flags.json gives it: setup.py adds
these, and CMake reads the same table for libpcsr.
"""

import json
from pathlib import Path

from cffi import FFI

FOLDER = Path(__file__).parent
FLAGS = json.loads((FOLDER / "flags.json").read_text(encoding="utf-8"))
PASSES = (
    "pixels.c",
    "instructions.c",
    "passes_generic.c",
    "passes_avx2.c",
    "passes_avx512.c",
    "passes_avx512_bf16.c",
)
CONVOLUTIONS = ("convolutions.c", "convolutions_bf16.c", "convolutions_int8.c", "instructions.c")


def extension(name: str, header: str, sources: tuple[str, ...]) -> FFI:
    """Describes one extension, whose functions are those of a header."""
    ffi = FFI()
    lines = (FOLDER / header).read_text(encoding="utf-8").splitlines()
    ffi.cdef("\n".join(line for line in lines if not line.startswith("#")))
    ffi.set_source(
        f"pcsr.runtime.cpu.{name}",
        f'#include "{header}"',
        sources=[f"runtime/cpu/native/{source}" for source in sources],
        depends=[f"runtime/cpu/native/{file.name}" for file in sorted(FOLDER.glob("*.[hj]*"))],
        include_dirs=["runtime/cpu/native"],
        extra_compile_args=FLAGS["every"],
        py_limited_api=True,
    )
    return ffi


passes = extension("_pixels", "pixels.h", PASSES)
convolutions = extension("_convolutions", "convolutions.h", CONVOLUTIONS)
