"""Compiles the convolutions to `pcsr.runtime.cpu._convolutions`; setup.py names it to cffi."""

from pathlib import Path

from cffi import FFI

FOLDER = Path(__file__).parent

ffi = FFI()
header = (FOLDER / "convolutions.h").read_text(encoding="utf-8")
ffi.cdef("\n".join(line for line in header.splitlines() if not line.startswith("#")))
ffi.set_source(
    "pcsr.runtime.cpu._convolutions",
    '#include "convolutions.h"',
    sources=["runtime/cpu/native/convolutions.c", "runtime/cpu/native/convolutions_bf16.c"],
    depends=[
        "runtime/cpu/native/convolutions.h",
        "runtime/cpu/native/convolutions_kernels.h",
    ],
    include_dirs=["runtime/cpu/native"],
    extra_compile_args=["-O3", "-fno-math-errno", "-fno-trapping-math"],
    py_limited_api=True,
)
