"""Keeps partial results beside the bundle, so that an interrupted calibration goes on."""

import hashlib
import json
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from time import perf_counter
from typing import Any, Self

from pcsr.atomic import atomic_file

ShowProgress = Callable[[Iterable[Any], str], AbstractContextManager[Iterable[Any]]]
"""(items, label) -> a context of the same items, whose progress is shown."""


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
