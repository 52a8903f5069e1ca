"""Keeps partial results beside the bundle, so that an interrupted calibration goes on."""

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any, Self

from pcsr.atomic import atomic_file

_log = logging.getLogger(__name__)
ShowProgress = Callable[[Iterable[Any], str], AbstractContextManager[Iterable[Any]]]
"""(items, label) -> a context of the same items, whose progress is shown."""


class LoggedProgress:
    """Shows progress as lines of the log (INFO): a `ShowProgress` for where there is no terminal.
    A line says the item that is begun, at most every `every_s` seconds over all phases.
    """

    every_s = 1.0

    def __init__(self) -> None:
        self._said = perf_counter()

    @contextmanager
    def __call__(self, items: Iterable[Any], label: str) -> Iterator[Iterable[Any]]:
        yield self._watched(list(items), label)

    def _watched(self, items: list[Any], label: str) -> Iterator[Any]:
        for number, item in enumerate(items, 1):
            if perf_counter() - self._said >= self.every_s:
                name = f" ({item.name})" if isinstance(item, Path) else ""
                _log.info("%s: %d of %d%s", label, number, len(items), name)
                self._said = perf_counter()
            yield item


class WorkFile:
    """A hidden JSON file beside the bundle holds in `found` what the same calibration left there;
    of another one nothing is taken over. It is a context: the file is brought up to date where the
    body fails, and removed where it succeeds.

    name: of the calibration. identity: everything, as JSON values, that its results depend on.
    """

    every_s = 2.0

    def __init__(self, bundle: Path, name: str, identity: Any) -> None:  # noqa: ANN401
        whole = bundle.resolve()
        self.path = whole.parent / f".{whole.name}.pcsr-calibrate-{name}.json"
        text = json.dumps(identity, sort_keys=True)
        self._key = hashlib.sha256(text.encode()).hexdigest()
        self.found: dict[str, Any] = self._read()
        self._written = perf_counter()

    def answer(self, name: str, compute: Callable[[], Any]) -> Any:  # noqa: ANN401
        """Returns what was found before, else keeps what `compute` gives now (JSON values)."""
        if name not in self.found:
            self.keep(name, compute())
        return self.found[name]

    def keep(self, name: str, value: Any) -> None:  # noqa: ANN401
        """Adds a result; writes all of them from time to time.

        Raises:
            OutputError: the folder is not writable, the disk is full.
        """
        self.found[name] = value
        if perf_counter() - self._written >= self.every_s:
            self._write()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and self.found:
            self._write()
        elif kind is None:
            self.path.unlink(missing_ok=True)

    def _write(self) -> None:
        with atomic_file(self.path, overwrite=True) as temporary:
            temporary.write_text(json.dumps({"key": self._key, "found": self.found}))
        self._written = perf_counter()

    def _read(self) -> dict[str, Any]:
        try:
            data = json.loads(self.path.read_text(encoding="utf-8"))
            same, found = data["key"] == self._key, data["found"]
        except (OSError, ValueError, KeyError, TypeError):
            return {}
        return found if same and isinstance(found, dict) else {}
