"""The library as it is installed, its programs, and a process that upscales what it is told to."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from . import building
from .driver import Driver


@pytest.fixture(scope="session")
def libpcsr() -> Path:
    """The prefix that the library is installed in."""
    return building.installed()


@pytest.fixture(scope="session")
def libpcsr_program() -> Callable[[str], Path]:
    """Gives a compiled program by its name."""
    return building.program


@pytest.fixture(scope="session")
def onnxruntime_library() -> Path:
    """ONNX Runtime's library, of the wheel."""
    return building.onnxruntime_library()


@pytest.fixture(scope="module")
def driver(
    libpcsr_program: Callable[[str], Path],
    onnxruntime_library: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Driver]:
    """A process of the C program."""
    folder = tmp_path_factory.mktemp("driver")
    with Driver(libpcsr_program("driver"), onnxruntime_library, folder) as started:
        yield started
