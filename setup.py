"""Defines what pyproject.toml cannot say: the compiled passes of the CPU runtime."""

import json
import os
from pathlib import Path

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

FLAGS = json.loads(Path("runtime/cpu/native/flags.json").read_text(encoding="utf-8"))
REQUIRED = os.environ.get("PCSR_REQUIRE_PASSES", "0") not in ("", "0")


class BuildIfPossible(build_ext):
    """Builds the compiled passes; where they cannot be built, pcsr is installed without them."""

    missing: tuple[str, ...] = ()

    def run(self) -> None:
        # The C file is written by cffi, which announces the extension after options are read.
        for extension in self.extensions:
            extension.optional = not REQUIRED
        super().run()
        self.missing = tuple(path for path in self.get_outputs() if not os.path.exists(path))
        if self.missing:
            self.warn(
                "pcsr's compiled passes were not built: a C compiler (gcc or clang) and Python's "
                "headers are needed. pcsr works without them, slower (--backend onnxruntime)."
            )

    def build_extensions(self) -> None:
        """Gives each source its own flags; what a compiler does not know, the passes go without."""
        machine = self.plat_name.rpartition("-")[2]  # of a cross build, the one built for
        own_flags = FLAGS.get(machine, {})
        compile_source = self.compiler._compile

        def compile_with_own(obj, source, extension, options, flags, macros) -> None:  # noqa: ANN001
            own = own_flags.get(os.path.basename(source), [])
            try:
                compile_source(obj, source, extension, options, [*flags, *own], macros)
            except CompileError:
                if REQUIRED or not own:
                    raise
                self.warn(f"the compiler does not take {' '.join(own)}: {source} is left empty")
                compile_source(obj, source, extension, options, flags, macros)

        self.compiler._compile = compile_with_own
        super().build_extensions()


class Wheel(bdist_wheel):
    """Names a wheel without the compiled passes as one of Python alone, for any machine."""

    def get_tag(self) -> tuple[str, str, str]:
        if self.get_finalized_command("build_ext").missing:
            self.root_is_pure = True
        return super().get_tag()


setup(
    cffi_modules=[
        "runtime/cpu/native/build.py:passes",
        "runtime/cpu/native/build.py:convolutions",
    ],
    cmdclass={"build_ext": BuildIfPossible, "bdist_wheel": Wheel},
    # The module is built for the stable ABI of the least Python that pyproject.toml allows.
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
