"""Defines what pyproject.toml cannot say: the compiled passes of the CPU runtime."""

import os

from setuptools import setup
from setuptools.command.build_ext import build_ext


class BuildIfPossible(build_ext):
    """Builds the compiled passes; where they cannot be built, pcsr is installed without them."""

    def run(self) -> None:
        # The C file is written by cffi, which announces the extension after options are read.
        for extension in self.extensions:
            extension.optional = True
        super().run()
        missing = [path for path in self.get_outputs() if not os.path.exists(path)]
        if missing:
            self.warn(
                "pcsr's compiled passes were not built: a C compiler (gcc or clang) and Python's "
                "headers are needed. pcsr works without them, slower (--backend onnxruntime)."
            )


setup(
    cffi_modules=[
        "runtime/cpu/native/build.py:ffi",
        "runtime/cpu/native/build_convolutions.py:ffi",
    ],
    cmdclass={"build_ext": BuildIfPossible},
    # The module is built for the stable ABI of the least Python that pyproject.toml allows.
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
