"""The log of a run, beside its records: traces, and what the worker printed."""

from pathlib import Path


class Log:
    """Appends to a file, which is there from the first line on."""

    def __init__(self, file: Path, date: str) -> None:
        self._file = file
        self.add(f"==== run of {date}")

    def add(self, text: str) -> None:
        """Writes a text at once: the next step may be the last."""
        with self._file.open("a", encoding="utf-8") as stream:
            stream.write(f"{text.rstrip()}\n\n")
