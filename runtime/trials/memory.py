"""What trials have found on this machine, in a file of the user's cache folder.

It only saves time: a file that is damaged or cannot be written costs a warning and another trial.
To forget what was found is to delete it.
"""

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

from pcsr.atomic import atomic_file, folder_lock, make_folder, writing
from pcsr.errors import OutputError
from pcsr.reading.files import read_file
from pcsr.reading.json import MOST_TEXT, number, parse_json, text
from pcsr.runtime.machine import cpu_name, versions
from pcsr.text import first_line, shortened
from pcsr.version import __version__

from .outcome import TrialOutcome

LOG = logging.getLogger("pcsr.upscaler")
FORMAT, FORMAT_VERSION = "pcsr-cpu-choices", 1
MOST_BYTES, MOST_ENTRIES = 2**20, 256
KERNELS = Path(__file__).parents[1] / "cpu"
PACKAGES = ("onnxruntime", "onnxruntime-gpu", "openvino")

Key = Mapping[str, Any]


def memory_file() -> Path | None:
    """Says where it is kept: in $XDG_CACHE_HOME, or ~/.cache; None where there is no home."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        cache = cache if cache.is_absolute() else Path.home() / ".cache"
    except RuntimeError:
        return None
    return cache / "pcsr" / "cpu-choices.json"


def key_of(role: str, sha256: str, precision: str, threads: int) -> Key:
    """Collects all that an outcome depends on."""
    return {
        "role": role,
        "graph": sha256,
        "precision": precision,
        "threads": threads,
        "processor": cpu_name(),
        "pcsr": __version__,
        "kernels": _kernels(),
        "versions": versions(*PACKAGES),
    }


def remembered(key: Key) -> TrialOutcome | None:
    """Looks up what a trial has found; None where none has."""
    file = memory_file()
    if file is None:
        return None
    try:
        entry = _entries(file).get(_digest(key))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        anew = "; it is written anew" if file.is_file() else ""
        LOG.warning("%s cannot be read (%s)%s", file, reason, anew)
        return None
    return None if entry is None else entry["outcome"]


def remember(key: Key, outcome: TrialOutcome) -> None:
    """Keeps what a trial has found, beside what others have. Processes that do so at once take
    turns.
    """
    file = memory_file()
    try:
        if file is None:
            raise OutputError("there is no home folder to keep it in; set XDG_CACHE_HOME")
        make_folder(file.parent)
        with writing(file), folder_lock(file.parent):
            _write(file, _known(file) | {_digest(key): {"key": key, "outcome": outcome}})
    except OutputError as error:
        LOG.warning("what is fastest here is tried again each time: %s", error)


def all_remembered() -> list[tuple[Key, TrialOutcome]]:
    """Lists all that is kept, the oldest first.

    Raises:
        OSError, ValueError: the file cannot be read.
    """
    file = memory_file()
    entries = {} if file is None else _entries(file)
    return [(entry["key"], entry["outcome"]) for entry in entries.values()]


def _known(file: Path) -> dict[str, dict[str, Any]]:
    try:
        return _entries(file)
    except (OSError, ValueError):
        return {}


def _entries(file: Path) -> dict[str, dict[str, Any]]:
    """Reads the file. Raises ValueError where it is not as `_write` makes it."""
    try:
        data = parse_json(read_file(file, MOST_BYTES))
    except FileNotFoundError:
        return {}
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise ValueError("it is not pcsr's")
    if data.get("format_version") != FORMAT_VERSION:
        return {}  # of another pcsr
    return {_digest(entry["key"]): entry for entry in map(_entry, _list(data.get("choices")))}


def _entry(value: Any) -> dict[str, Any]:  # noqa: ANN401
    fields = _dict(value)
    times = {text(name): number(ms) for name, ms in _dict(fields.get("times_ms")).items()}
    dropped = {text(name): text(why) for name, why in _dict(fields.get("dropped")).items()}
    outcome = TrialOutcome(text(fields.get("winner")), times, dropped)
    return {"key": _dict(fields.get("key")), "outcome": outcome}


def _write(file: Path, entries: Mapping[str, Mapping[str, Any]]) -> None:
    kept = [*entries.values()][-MOST_ENTRIES:]
    choices = [{"key": entry["key"]} | _outcome(entry["outcome"]) for entry in kept]
    data = {"format": FORMAT, "format_version": FORMAT_VERSION, "choices": choices}
    with atomic_file(file, overwrite=True, is_output=False) as temporary:
        temporary.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def _outcome(outcome: TrialOutcome) -> dict[str, Any]:
    times = {name: round(ms, 3) for name, ms in outcome.times_ms.items()}
    dropped = {name: shortened(why, MOST_TEXT) for name, why in outcome.dropped.items()}
    return {"winner": outcome.winner, "times_ms": times, "dropped": dropped}


def _digest(key: Key) -> str:
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()


def _kernels() -> str:
    """Gives a hash of the compiled code for CPUs."""
    found = hashlib.sha256()
    for file in sorted(KERNELS.rglob("_*")):
        if file.name.endswith(tuple(EXTENSION_SUFFIXES)):
            found.update(file.read_bytes())
    return found.hexdigest()[:16]


def _dict(value: Any) -> dict[str, Any]:  # noqa: ANN401
    if not isinstance(value, dict):
        raise ValueError("it is not as pcsr writes it")
    return value


def _list(value: Any) -> list[Any]:  # noqa: ANN401
    if not isinstance(value, list):
        raise ValueError("it is not as pcsr writes it")
    return value
