"""A bundle on its way to the workers: one block of bytes, unpacked by each of them."""

import hashlib
import io
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pcsr.atomic import remove_leftovers, writing
from pcsr.atomic.temporaries import temporary_folder
from pcsr.bundle import MANIFEST


def packed(bundle: Path) -> bytes:
    """Packs a bundle's folder, or its single file, without hidden files.

    Examples:
        >>> from pcsr.batch.packed import packed, unpacked
        >>> with unpacked(packed(Path("carn-pcsr/"))) as bundle:
        ...     print(bundle.name, (bundle / "manifest.json").is_file())
        carn-pcsr True
    """
    bundle, file = bundle.absolute(), io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", dereference=True) as archive:
        archive.add(bundle, bundle.name, filter=_visible)
    return file.getvalue()


@contextmanager
def unpacked(content: bytes) -> Iterator[Path]:
    """Lends the bundle in a temporary folder, which is removed afterwards; what killed processes
    left of theirs is removed before.
    """
    folder = Path(tempfile.gettempdir())
    remove_leftovers(folder)
    with writing(folder), temporary_folder(folder / "bundle") as temporary:
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            names = [name for name in archive.getnames() if "/" not in name]
            archive.extractall(temporary, filter="data")
        yield temporary / names[0]


def bundle_sha256(bundle: Path) -> str:
    """Gives what tells a bundle from others: the SHA-256 of its manifest, which has those of its
    files, or of the single file.
    """
    file = bundle / MANIFEST if bundle.is_dir() else bundle
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _visible(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if Path(info.name).name.startswith(".") and "/" in info.name else info
