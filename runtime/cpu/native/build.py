"""Compiles the CPU passes to `pcsr.runtime.cpu._pixels`; setup.py names it to cffi.

Each instruction set is an object of its own, with the flags that flags.json gives it: setup.py adds
these, and CMake reads the same table for libpcsr.
"""

import json
from pathlib import Path

from cffi import FFI

FOLDER = Path(__file__).parent
SOURCES = (
    "pixels.c",
    "instructions.c",
    "passes_generic.c",
    "passes_avx2.c",
    "passes_avx512.c",
    "passes_avx512_bf16.c",
)
FLAGS = json.loads((FOLDER / "flags.json").read_text(encoding="utf-8"))

ffi = FFI()
header = (FOLDER / "pixels.h").read_text(encoding="utf-8")
ffi.cdef("\n".join(line for line in header.splitlines() if not line.startswith("#")))
ffi.set_source(
    "pcsr.runtime.cpu._pixels",
    '#include "pixels.h"',
    sources=[f"runtime/cpu/native/{name}" for name in SOURCES],
    depends=[f"runtime/cpu/native/{file.name}" for file in sorted(FOLDER.glob("*.[hj]*"))],
    include_dirs=["runtime/cpu/native"],
    extra_compile_args=FLAGS["every"],
    py_limited_api=True,
)
