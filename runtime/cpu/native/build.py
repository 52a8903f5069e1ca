"""Compiles the CPU passes to `pcsr.runtime.cpu._pixels`; setup.py names it to cffi."""

from pathlib import Path

from cffi import FFI

FOLDER = Path(__file__).parent

ffi = FFI()
header = (FOLDER / "pixels.h").read_text(encoding="utf-8")
ffi.cdef("\n".join(line for line in header.splitlines() if not line.startswith("#")))
ffi.set_source(
    "pcsr.runtime.cpu._pixels",
    '#include "pixels.h"',
    sources=["runtime/cpu/native/pixels.c"],
    depends=["runtime/cpu/native/passes.h", "runtime/cpu/native/pixels.h"],
    include_dirs=["runtime/cpu/native"],
    extra_compile_args=["-O3", "-fno-math-errno", "-fno-trapping-math"],
    py_limited_api=True,
)
