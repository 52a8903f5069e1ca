"""The libraries of TensorRT-RTX, compressed in parts that are small enough to travel."""

import shutil
import tarfile
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, cast
from zipfile import ZipFile

from pcsr.atomic import atomic_directory
from pcsr.errors import BackendError

from .wheels import download

FOLDER = "tensorrt-rtx"
PART_BYTES = 60 * 2**20
INSTALLED = ("tensorrt-rtx", "tensorrt-rtx-cu13")  # pure Python, and no wheels on PyPI
DOWNLOADED = ("tensorrt-rtx-cu13-bindings", "tensorrt-rtx-cu13-libs")


def pack_libraries(pack: Path, python: str, say: Callable[[str], object]) -> list[Path]:
    """Brings TensorRT-RTX in the version that is installed here, and compresses it into parts.

    python: version of Python on the GPU machine, as "3.12".

    Raises:
        BackendError: it is not installed here.
        OutputError: pip did not bring the wheels.
    """
    with TemporaryDirectory() as scratch:
        content = Path(scratch) / "content"
        _copy_installed(content)
        version = distribution(INSTALLED[0]).version
        wanted = [f"{name}=={version}" for name in DOWNLOADED]
        for wheel in download(wanted, Path(scratch) / "wheels", "--python-version", python):
            with ZipFile(wheel) as archive:
                archive.extractall(content)
        say("compressing TensorRT-RTX, which takes minutes …")
        return compress(content, pack / FOLDER)


def _copy_installed(content: Path) -> None:
    for name in INSTALLED:
        try:
            found = distribution(name)
        except PackageNotFoundError as error:
            raise BackendError(
                f"{name} is not installed here, expected it for --tensorrt-rtx: "
                "pip install tensorrt-rtx"
            ) from error
        for file in found.files or ():
            if not {"__pycache__", ".."} & {*file.parts}:
                target = content / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(str(found.locate_file(file)), target)


def compress(content: Path, folder: Path, part_bytes: int = PART_BYTES) -> list[Path]:
    """Makes a .tar.xz of what is in a folder, in parts of at most so many bytes."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with atomic_directory(folder, overwrite=True) as temporary:
        stream = cast(IO[bytes], _Parts(temporary, part_bytes))
        with tarfile.open(fileobj=stream, mode="w|xz") as archive:
            archive.add(content, arcname="")
    return sorted(folder.iterdir())


class _Parts:
    """A file to write to, which is cut into files part-00, part-01 and so on."""

    def __init__(self, folder: Path, part_bytes: int) -> None:
        self._folder, self._part_bytes = folder, part_bytes
        self._size = 0

    def write(self, data: bytes) -> int:
        rest = data
        while rest:
            number, used = divmod(self._size, self._part_bytes)
            now = rest[: self._part_bytes - used]
            with (self._folder / f"part-{number:02}").open("ab") as file:
                file.write(now)
            self._size += len(now)
            rest = rest[len(now) :]
        return len(data)
