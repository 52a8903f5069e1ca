"""Compiles the convolutions to `pcsr.runtime.cpu._convolutions`, as build.py does the passes."""

import json
from pathlib import Path

from cffi import FFI

FOLDER = Path(__file__).parent
SOURCES = ("convolutions.c", "convolutions_bf16.c", "instructions.c")
FLAGS = json.loads((FOLDER / "flags.json").read_text(encoding="utf-8"))

ffi = FFI()
header = (FOLDER / "convolutions.h").read_text(encoding="utf-8")
ffi.cdef("\n".join(line for line in header.splitlines() if not line.startswith("#")))
ffi.set_source(
    "pcsr.runtime.cpu._convolutions",
    '#include "convolutions.h"',
    sources=[f"runtime/cpu/native/{name}" for name in SOURCES],
    depends=[f"runtime/cpu/native/{file.name}" for file in sorted(FOLDER.glob("*.[hj]*"))],
    include_dirs=["runtime/cpu/native"],
    extra_compile_args=FLAGS["every"],
    py_limited_api=True,
)
