"""Compiles the CPU passes to `pcsr.runtime._pixels`; setup.py names it to cffi."""

from pathlib import Path

from cffi import FFI

FOLDER = Path(__file__).parent

ffi = FFI()
header = (FOLDER / "pixels.h").read_text(encoding="utf-8")
ffi.cdef("\n".join(line for line in header.splitlines() if not line.startswith("#")))
ffi.set_source(
    "pcsr.runtime._pixels",
    '#include "pixels.h"',
    sources=["runtime/native/pixels.c"],
    depends=["runtime/native/passes.h", "runtime/native/pixels.h"],
    include_dirs=["runtime/native"],
    extra_compile_args=["-O3", "-fno-math-errno", "-fno-trapping-math"],
    py_limited_api=True,
)
