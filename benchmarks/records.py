"""The results file: one JSON line per contender, written a group at a time."""

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

Record = dict[str, Any]


def read_records(file: Path) -> list[Record]:
    """Reads all records of a file that are whole; a line that was cut off is left out."""
    if not file.exists():
        return []
    records: list[Record] = []
    for line in file.read_text(encoding="utf-8").splitlines():
        with suppress(ValueError):
            records.append(json.loads(line))
    return records


def append_group(file: Path, records: Sequence[Record]) -> None:
    """Adds the records of one group, on lines of their own."""
    text = "".join(json.dumps(record, allow_nan=False) + "\n" for record in records)
    torn = file.exists() and file.read_bytes()[-1:] not in (b"", b"\n")
    with file.open("a", encoding="utf-8") as stream:
        stream.write("\n" + text if torn else text)


def finite(record: Record) -> Record:
    """Gives the record with None for what is no finite number, which JSON does not know."""
    found: Record = json.loads(json.dumps(record), parse_constant=lambda name: None)
    return found


def complete_group(records: Sequence[Record], key: str) -> list[Record] | None:
    """Finds the latest records of a group, where all of them are there."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        if record.get("key") == key:
            groups.setdefault(record["environment"]["date"], []).append(record)
    whole = [group for group in groups.values() if len(group) == group[0]["group_size"]]
    return whole[-1] if whole else None


class Log:
    """The log of a run, beside its records: traces, and what its processes printed. It appends to a
    file, which is there from the first line on.
    """

    def __init__(self, file: Path, date: str) -> None:
        self._file = file
        self.add(f"==== run of {date}")

    def add(self, text: str) -> None:
        """Writes a text at once: the next step may be the last."""
        with self._file.open("a", encoding="utf-8") as stream:
            stream.write(f"{text.rstrip()}\n\n")
