"""The manifest of a job: a Parquet table beside the results that says what became of each input.

Workers add parts to it while they work; at its end the job makes one file of all. Readers merge
whatever is there, so that nothing done is lost when the job is killed.
"""

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pcsr.errors import ImageError, UsageError
from pcsr.extras import needs_extra

from .places import Place

if TYPE_CHECKING:
    import pyarrow

FOLDER = "_pcsr"
_FILE, _SETTINGS = f"{FOLDER}/manifest.parquet", f"{FOLDER}/settings.json"
_PARTS, _PLANNED = f"{FOLDER}/parts", f"{FOLDER}/planned"
EXISTS = "exists; pass --overwrite"
"""What errors say that are about a file which is there, and not about the image."""
_MOST_READS = 100  # of parts that come and go while they are read
COLUMNS = {
    "input": "string",
    "output": "string",
    "sha256": "string",
    "bytes": "int64",
    "width": "int32",
    "height": "int32",
    "input_width": "int32",
    "input_height": "int32",
    "heavy_share": "float64",
    "ms": "float64",
    "error": "string",
    "attempts": "int32",
    "finished_at": "timestamp[us, UTC]",
}
"""The columns and their types. docs/scale.md says what each holds."""
Row = Mapping[str, Any]


def read_manifest(output: str) -> "pyarrow.Table":
    """Reads the manifest of a folder of results, whether its job has ended or not: a row for each
    input, the last one where it was tried again. `output` is a path or a URI.

    Examples:
        >>> from pcsr.batch import read_manifest
        >>> table = read_manifest("upscaled/")
        >>> [row["output"] for row in table.to_pylist() if row["error"]]
        ['b.png']

    Raises:
        UsageError: there is no manifest, or it cannot be read.
        BackendError: pyarrow is not installed.
    """
    with needs_extra("read_manifest", "ray"):
        import pyarrow  # noqa: F401
    manifest = Manifest(Place.of(str(output)))
    if manifest.settings() is None:
        raise UsageError(f"no manifest of pcsr-upscale --engine in {output}; name its OUTPUT")
    return manifest.read()


class Manifest:
    """The manifest of one folder of results."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def settings(self) -> dict[str, Any] | None:
        """Reads with which settings the results were made; None where there is no manifest."""
        if not any(name == _SETTINGS for name, _ in self._place.files(FOLDER, recursive=False)):
            return None
        content = self._place.read(_SETTINGS)
        try:
            found = json.loads(content)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            shown = self._place.shown(_SETTINGS)
            raise UsageError(f"{shown} is damaged; pass --overwrite to begin anew")
        return found

    def write_settings(self, settings: Mapping[str, Any]) -> None:
        """Writes the settings of what follows."""
        self._place.write(_SETTINGS, json.dumps(settings, indent=1).encode())

    def read(self) -> "pyarrow.Table":
        """Reads all rows, the last of each output, sorted by output. That a file exists is the last
        word on it only where no row says that it was made.
        """
        import pyarrow as pa

        tables = [schema().empty_table(), *self._tables()]
        rows = _without_refusals(pa.concat_tables(tables, promote_options="default"))
        rows = rows.append_column("order", pa.array(range(len(rows)), pa.int64()))
        rows = rows.sort_by(
            [("output", "ascending"), ("finished_at", "ascending"), ("order", "ascending")]
        )
        outputs = rows["output"].to_pylist()
        last = [n for n, name in enumerate(outputs) if outputs[n + 1 : n + 2] != [name]]
        return rows.take(pa.array(last, pa.int64())).drop_columns(["order"])

    def add(self, name: str, rows: Sequence[Row]) -> str:
        """Adds a part; one of the same name is replaced. Gives the name of its file."""
        path = f"{_PARTS}/{name}.parquet"
        self._place.write(path, _packed(_table_of(rows)))
        return path

    def remove(self, paths: Iterable[str]) -> None:
        """Removes parts whose rows are in others."""
        for path in paths:
            self._place.delete(path)

    def plan(self, name: str, outputs: Sequence[str]) -> None:
        """Notes which outputs, none of them there yet, a run is going to make: if it is killed,
        they are known to be its own.
        """
        import pyarrow as pa

        self._place.write(f"{_PLANNED}/{name}.parquet", _packed(pa.table({"output": outputs})))

    def planned(self) -> set[str]:
        """Reads which outputs earlier runs that have not ended were going to make."""
        names = [name for name, _ in self._place.files(FOLDER) if _is_of(name, _PLANNED)]
        return {output for name in names for output in self._table(name)["output"].to_pylist()}

    def compact(self) -> None:
        """Makes one file of all rows, and then removes the parts."""
        names = [name for name, _ in self._place.files(FOLDER)]
        self._place.write(_FILE, _packed(self.read()))
        self.remove(n for n in names if _is_of(n, _PARTS) or _is_of(n, _PLANNED))

    def clear(self) -> None:
        """Removes all rows, before everything is made anew."""
        names = [name for name, _ in self._place.files(FOLDER)]
        self.remove(n for n in names if n.endswith((".parquet", ".json")))

    def _tables(self) -> list["pyarrow.Table"]:
        """Reads all files. One that goes meanwhile is in another, which was written before."""
        tables = dict[str, Any]()
        for left in reversed(range(_MOST_READS)):
            names = [name for name, _ in self._place.files(FOLDER) if _is_of(name, _PARTS)]
            try:
                for name in sorted(names):
                    if name not in tables:
                        tables[name] = self._table(name)
                compacted = [self._table(name) for name in self._compacted()]
            except UsageError as error:
                if not left or not _is_missing(error):
                    raise
                continue
            return [*compacted, *(tables[name] for name in sorted(tables))]
        return []

    def _compacted(self) -> list[str]:
        return [name for name, _ in self._place.files(FOLDER, recursive=False) if name == _FILE]

    def _table(self, name: str) -> "pyarrow.Table":
        import pyarrow as pa
        from pyarrow import parquet

        try:
            return parquet.read_table(io.BytesIO(self._place.read(name)))
        except (pa.ArrowException, OSError, ImageError) as error:
            raise UsageError(
                f"cannot read {self._place.shown(name)}: it is damaged; remove it, or pass "
                "--overwrite to begin anew"
            ) from error


def schema() -> "pyarrow.Schema":
    """Gives the columns in Arrow's types."""
    import pyarrow as pa

    kinds = {"timestamp[us, UTC]": pa.timestamp("us", "UTC"), "string": pa.string()}
    kinds |= {"int32": pa.int32(), "int64": pa.int64(), "float64": pa.float64()}
    return pa.schema([(name, kinds[kind]) for name, kind in COLUMNS.items()])


def _table_of(rows: Sequence[Row]) -> "pyarrow.Table":
    import pyarrow as pa

    return pa.Table.from_pylist([dict(row) for row in rows], schema())


def _without_refusals(rows: "pyarrow.Table") -> "pyarrow.Table":
    from pyarrow import compute

    made = rows.filter(compute.is_null(rows["error"]))["output"]
    refused = compute.fill_null(compute.match_substring(rows["error"], EXISTS), False)
    lost = compute.and_(refused, compute.is_in(rows["output"], made))
    return rows.filter(compute.invert(lost))


def _is_missing(error: BaseException | None) -> bool:
    """Tests whether an error, or what it came of, is that a file is not there."""
    return error is not None and (
        isinstance(error, FileNotFoundError) or _is_missing(error.__cause__)
    )


def _packed(table: "pyarrow.Table") -> bytes:
    from pyarrow import parquet

    file = io.BytesIO()
    parquet.write_table(table, file, compression="zstd")
    return file.getvalue()


def _is_of(name: str, folder: str) -> bool:
    return name.startswith(f"{folder}/") and name.endswith(".parquet")
