"""Unpacks the libraries of a pack where it has come to; needs nothing but Python itself."""

import sys
import tarfile
from pathlib import Path
from typing import IO, cast


class _Joined:
    """Several files, to be read as one."""

    def __init__(self, files: list[Path]) -> None:
        self._files = [file.open("rb") for file in files]

    def read(self, size: int) -> bytes:
        while self._files:
            if data := self._files[0].read(size):
                return data
            self._files.pop(0).close()
        return b""


def unpack(pack: Path) -> Path:
    """Unpacks `tensorrt-rtx/part-*` of a pack into its folder `libraries`, and returns that."""
    stream = cast(IO[bytes], _Joined(sorted((pack / "tensorrt-rtx").glob("part-*"))))
    target = pack / "libraries"
    with tarfile.open(fileobj=stream, mode="r|xz") as archive:
        archive.extractall(target, filter="data")
    return target


if __name__ == "__main__":
    try:
        sys.stdout.write(f"{unpack(Path(sys.argv[1]))}\n")
    except (OSError, EOFError, tarfile.TarError) as error:
        sys.exit(f"error: {sys.argv[1]}: a part of the libraries is missing or damaged: {error}")
