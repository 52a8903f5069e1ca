"""Folders on any file system that pyarrow knows, and how files get there whole."""

import secrets
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from pcsr.atomic import atomic_file, make_folder, writing
from pcsr.errors import BackendError, ImageError, OutputError, PcsrError, UsageError
from pcsr.extras import needs_extra
from pcsr.text import last_line

_WHOLE = ("s3", "gcs", "abfs")  # types of file systems where an object appears when it is complete

GOOGLE_RETRIES_S = 30


@dataclass(frozen=True)
class Place:
    """A file or a folder, by the path or the URI that names it. Names below it have forward
    slashes.

    Examples:
        >>> from pcsr.batch.storage.places import Place
        >>> place = Place.of("s3://bucket/photos?region=eu-west-1")
        >>> place.shown("a b/c.png"), place.local
        ('s3://bucket/photos/a b/c.png', None)
    """

    uri: str
    """A URI; of a local file system the absolute path."""

    @classmethod
    def of(cls, named: str) -> "Place":
        """Makes one of what a user names; a relative path becomes an absolute one."""
        parts = urlsplit(named)
        if "://" not in named:
            return cls(str(Path(named).absolute()))
        if parts.scheme == "file":
            return cls(str(Path(unquote(parts.path))))
        return cls(named)

    @property
    def local(self) -> Path | None:
        """Its path on the local file system; None on another one."""
        return None if "://" in self.uri else Path(self.uri)

    def shown(self, name: str = "") -> str:
        """Names it, or what lies below it, for people: without the options of a URI."""
        base = self.uri if self.local else self.uri.partition("?")[0]
        return "/".join(filter(None, (base.rstrip("/") or "/", name)))

    def path(self, name: str = "") -> str:
        """Gives the path within its file system."""
        base = _opened(self.uri)[1]
        return str(PurePosixPath(base) / name) if name else base

    def is_file(self) -> bool:
        """Tests whether it is a file; False for a folder.

        Raises:
            UsageError: there is nothing of this name, or it cannot be reached.
        """
        with self._reaching():
            kind = self._system.get_file_info(self.path()).type.name
        if kind == "NotFound":
            raise UsageError(f"cannot open {self.shown()}: there is nothing; check the name")
        return bool(kind == "File")

    def files(self, below: str = "", recursive: bool = True) -> Iterator[tuple[str, int]]:
        """Yields names and bytes of the files below it, or below a folder in it; nothing where
        there is no such folder.
        """
        from pyarrow.fs import FileSelector

        top = self.path(below)
        root = self.path().rstrip("/")
        with self._reaching():
            selector = FileSelector(top, allow_not_found=True, recursive=recursive)
            for info in self._system.get_file_info(selector):
                if info.type.name == "File":
                    yield info.path[len(root) :].lstrip("/"), info.size or 0

    def read(self, name: str = "", most_bytes: int | None = None) -> bytes:
        """Reads a file.

        Raises:
            ImageError: it is missing, unreadable or larger than `most_bytes`.
        """
        try:
            with self._system.open_input_file(self.path(name)) as file:
                if most_bytes is not None and file.size() > most_bytes:
                    raise ImageError(
                        f"cannot read {self.shown(name)}: expected at most {most_bytes} bytes, "
                        f"found {file.size()}; raise --max-pixels"
                    )
                return bytes(file.read())
        except (OSError, ValueError) as error:
            raise ImageError(f"cannot read {self.shown(name)}: {last_line(error)}") from error

    def write(self, name: str, content: Any) -> None:  # noqa: ANN401
        """Writes a file of bytes (or a buffer of Arrow); it appears whole, or not at all, and
        replaces one that is there.

        Raises:
            OutputError: it cannot be written.
        """
        if self.local:
            path = self.local / name
            make_folder(path.parent)
            with atomic_file(path, overwrite=True) as temporary, temporary.open("wb") as file:
                file.write(content)
            return
        try:
            self._send(name, content)
        except (OSError, ValueError) as error:
            raise OutputError(f"cannot write {self.shown(name)}: {last_line(error)}") from error

    def delete(self, name: str) -> None:
        """Deletes a file, if it is there."""
        with writing(Path(name)), suppress(FileNotFoundError):
            self._system.delete_file(self.path(name))

    def _send(self, name: str, content: Any) -> None:  # noqa: ANN401
        system, path = self._system, self.path(name)
        if system.type_name in _WHOLE:
            _pour(system, path, content)
            return
        folder = str(PurePosixPath(path).parent)
        temporary = f"{folder}/.pcsr-{secrets.token_hex(8)}{PurePosixPath(path).suffix}"
        system.create_dir(folder, recursive=True)
        _pour(system, temporary, content)
        try:
            system.move(temporary, path)
        except BaseException:
            with suppress(OSError):
                system.delete_file(temporary)
            raise

    @property
    def _system(self) -> Any:  # noqa: ANN401
        return _opened(self.uri)[0]

    def _reaching(self) -> "_Reaching":
        return _Reaching(self)


class _Reaching:
    """Turns what a file system says in the body into a UsageError that names the place."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError | ValueError) and not isinstance(error, PcsrError):
            raise UsageError(f"cannot reach {self._place.shown()}: {last_line(error)}") from error


def _pour(system: Any, path: str, content: Any) -> None:  # noqa: ANN401
    """Writes all at once: a stream that is closed after half of it would leave half an object."""
    stream = system.open_output_stream(path)
    try:
        stream.write(content)
        stream.close()
    except BaseException:
        with suppress(OSError, ValueError):
            stream.close()
        with suppress(OSError):
            system.delete_file(path)
        raise


@cache
def _opened(uri: str) -> tuple[Any, str]:
    """Opens a file system; gives it and the path within it."""
    with needs_extra("--engine", "ray"):
        import pyarrow
        from pyarrow.fs import FileSystem, LocalFileSystem
    if "://" not in uri:
        return LocalFileSystem(), uri
    try:
        system, path = FileSystem.from_uri(_bounded(uri))
    except pyarrow.lib.ArrowInvalid as error:
        raise UsageError(
            f"expected a path or a URI that pyarrow knows (s3://, gs://, ...), found {uri}: "
            f"{last_line(error)}"
        ) from error
    except (OSError, NotImplementedError) as error:
        raise BackendError(f"cannot open {uri.partition('?')[0]}: {last_line(error)}") from error
    return system, path


def _bounded(uri: str) -> str:
    """Bounds how long Google's store is asked again, which is 15 minutes else, without an end by
    Ctrl-C.
    """
    if not uri.startswith(("gs://", "gcs://")) or "retry_limit_seconds=" in uri:
        return uri
    return f"{uri}{'&' if '?' in uri else '?'}retry_limit_seconds={GOOGLE_RETRIES_S}"
