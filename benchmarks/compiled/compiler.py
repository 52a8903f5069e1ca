"""Compiles what a wrapper launches, without a GPU."""

import re
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import triton
from triton.backends.compiler import GPUTarget
from triton.backends.nvidia import compiler as nvidia
from triton.compiler import ASTSource

TOOLS = Path(nvidia.__file__).parent / "bin"
SHARED_LIMIT = {  # bytes of a program, CUDA guide
    80: 163 * 1024,
    86: 99 * 1024,
    89: 99 * 1024,
    90: 227 * 1024,
    100: 227 * 1024,
    120: 99 * 1024,
}


@dataclass(frozen=True)
class Compiled:
    """A kernel for one GPU. spilled: bytes of stack per thread; shared: bytes per program."""

    ptx: str
    cubin: bytes
    registers: int
    spilled: int
    shared: int
    warps: int
    ttgir: str

    @property
    def uses_tensor_cores(self) -> bool:
        return any(name in self.ptx for name in ("mma.sync", "wgmma.mma_async", "tcgen05.mma"))

    @cached_property
    def sass(self) -> str:
        """What the GPU runs, as text."""
        return _cuobjdump("-sass", self.cubin)


@dataclass
class Launches:
    """Stands in for a kernel and keeps how it was launched."""

    kernel: Any
    seen: list[tuple[tuple[Any, ...], dict[str, Any]]] = field(default_factory=list)
    grids: list[tuple[int, ...]] = field(default_factory=list)

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        assert all(size > 0 for size in grid)
        self.grids.append(grid)
        return lambda *args, **options: self.seen.append((args, options))

    def compile(self, capability: int) -> Compiled:
        """The last launch."""
        args, options = self.seen[-1]
        names = self.kernel.arg_names
        values = dict(zip(names, args, strict=False)) | {
            name: options[name] for name in names if name in options
        }
        constants = {p.name: values[p.name] for p in self.kernel.params if p.is_constexpr}
        constants |= {name: 1 for name, value in self._numbers(values) if value == 1}
        signature = {
            name: "constexpr" if name in constants else _type(values[name]) for name in names
        }
        multiples = [
            (names.index(name),) for name, value in self._numbers(values) if not value % 16
        ]
        paths = [*_pointers(signature.values()), *multiples]
        attributes = {path: [["tt.divisibility", 16]] for path in paths}
        done = triton.compile(
            ASTSource(self.kernel, signature, constants, attributes),
            target=GPUTarget("cuda", capability, 32),
            options={name: value for name, value in options.items() if name not in names},
        )
        registers, stack = resources(done.asm["cubin"])
        cubin, ptx, ttgir = (done.asm[name] for name in ("cubin", "ptx", "ttgir"))
        warps = done.metadata.num_warps
        return Compiled(ptx, cubin, registers, stack, done.metadata.shared, warps, ttgir)

    def _numbers(self, values: dict[str, Any]) -> Iterator[tuple[str, int]]:
        """Integers for which Triton compiles forms of their own: 1, and multiples of 16."""
        for parameter in self.kernel.params:
            value = values[parameter.name]
            is_fixed = parameter.is_constexpr or parameter.do_not_specialize
            if isinstance(value, int) and not is_fixed:
                yield parameter.name, value


@contextmanager
def recorded(module: ModuleType, name: str) -> Iterator[Launches]:
    """Keeps how a kernel of a module is launched in the body; it is not run."""
    launches = Launches(getattr(module, name))
    with mock.patch.object(module, name, launches):
        yield launches


def _pointers(types: Iterable[Any], *path: int) -> Iterator[tuple[int, ...]]:
    for i, kind in enumerate(types):
        if isinstance(kind, tuple):
            yield from _pointers(kind, *path, i)
        elif kind.startswith("*"):
            yield (*path, i)


def _type(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, int):
        return "i32"
    if isinstance(value, tuple):
        return tuple(map(_type, value))
    name: str = triton.runtime.jit.mangle_type(value)
    return name


def resources(cubin: bytes) -> tuple[int, int]:
    """Gives the registers of a thread and the bytes of stack that it spills to."""
    found = re.search(r"REG:(\d+) STACK:(\d+)", _cuobjdump("-res-usage", cubin))
    assert found is not None
    return int(found[1]), int(found[2])


def _cuobjdump(option: str, cubin: bytes) -> str:
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [str(TOOLS / "cuobjdump"), option, file.name]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout + done.stderr
