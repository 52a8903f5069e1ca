"""Builds libpcsr and programs that use it, once; later runs build what has changed."""

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest
from filelock import FileLock

from benchmarks.libpcsr import library
from pcsr.errors import BackendError

ROOT = Path(__file__).resolve().parents[3]
SOURCE = ROOT / "runtime" / "libpcsr"
PROGRAMS = Path(__file__).parent / "programs"
CACHE = ROOT / "build" / "libpcsr"
TOOLS = {"cmake": "cmake", "c++": "g++", "pkg-config": "pkg-config"}
_HERE = Path(__file__).parent
MEMORY, THREAD = "address,undefined", "thread"
SANITIZERS = {
    MEMORY: {
        "LSAN_OPTIONS": f"suppressions={_HERE / 'leak_sanitizer.txt'}:print_suppressions=0",
        "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    },
    THREAD: {
        "TSAN_OPTIONS": f"suppressions={_HERE / 'thread_sanitizer.txt'}:halt_on_error=1"
        ":print_suppressions=0"
    },
}
"""The environment of a program, by its sanitizers."""


def run(*command: Path | str, **more: str) -> str:
    """Runs a command and returns its output; what it says is the failure. more: environment."""
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        env={**os.environ, **more},
        check=False,
    )
    assert done.returncode == 0, f"{command[0]}: {done.stdout}\n{done.stderr}"
    return done.stdout


@cache
def installed(sanitizer: str = "") -> Path:
    """The prefix that the library is installed in, built with sanitizers or without."""
    _require_tools()
    folder = CACHE / (sanitizer.replace(",", "-") or "plain")
    with lock(folder.name):
        tests = "-DPCSR_TESTS=ON"
        configure(SOURCE, folder / "build", tests, f"-DPCSR_SANITIZE={sanitizer}")
        run("cmake", "--install", folder / "build", "--prefix", folder / "prefix")
        found = f"-DCMAKE_PREFIX_PATH={folder / 'prefix'}"
        configure(PROGRAMS, folder / "programs", found, f"-DSANITIZE={sanitizer}")
    return folder / "prefix"


def program(name: str, sanitizer: str = "") -> Path:
    """A program of `programs/` here, or of runtime/libpcsr/tests."""
    folder = installed(sanitizer).parent
    places = (folder / "programs" / name, folder / "build" / "tests" / name)
    found = [place for place in places if place.exists()]
    assert found, f"no program {name} in {folder}"
    return found[0]


def onnxruntime_library() -> Path:
    """ONNX Runtime as the wheel has it."""
    pytest.importorskip("onnxruntime")
    try:
        return library.onnxruntime_library()
    except BackendError as error:
        pytest.skip(str(error))


def _require_tools() -> None:
    for tool, debian in TOOLS.items():
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool} to build libpcsr with (Debian: apt install {debian})")


def lock(name: str) -> FileLock:
    """What one process at a time holds while it builds in the cache's folder of that name."""
    CACHE.mkdir(parents=True, exist_ok=True)
    return FileLock(CACHE / f"{name}.lock")


def configure(source: Path, folder: Path, *options: str) -> None:
    """Configures and builds a CMake project; skips the test where a package is missing."""
    command = ["cmake", "-S", str(source), "-B", str(folder), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    for line in done.stderr.splitlines():
        if line.strip().startswith("libpcsr needs"):
            pytest.skip(line.strip())
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    run("cmake", "--build", folder, "--parallel", "2")
