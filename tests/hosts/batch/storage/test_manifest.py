"""What a manifest says while it is written, and which of several rows is the last word."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pcsr.atomic import atomic_file
from pcsr.batch.storage.manifest import Manifest, Row
from pcsr.batch.storage.places import Place
from pcsr.errors import OutputError, UsageError

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def row(output: str, minute: int, error: str | None = None) -> Row:
    return {"output": output, "finished_at": NOON + timedelta(minutes=minute), "error": error}


def test_a_file_that_exists_does_not_replace_a_good_row(tmp_path: Path) -> None:
    manifest = Manifest(Place.of(str(tmp_path)))
    (tmp_path / "a.png").touch()
    with pytest.raises(OutputError) as refused, atomic_file(tmp_path / "a.png"):
        pass
    manifest.add("1", [row("a.png", 0), row("b.png", 0), row("c.png", 0, "damaged")])
    manifest.add("2", [row(f"{name}.png", 1, str(refused.value)) for name in "acd"])
    manifest.add("3", [row("b.png", 1, "damaged")])
    for _ in range(2):
        found = {found["output"]: found["error"] for found in manifest.read().to_pylist()}
        assert found["a.png"] is None
        assert found["b.png"] == "damaged"
        assert "exists" in found["c.png"]
        assert "exists" in found["d.png"]
        manifest.compact()


def test_parts_that_go_while_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = Manifest(Place.of(str(tmp_path)))
    for number in range(4):
        manifest.add(f"{number}", [row(f"{number}.png", 0)])
    read, seen = Place.read, list[str]()

    def reading(place: Place, name: str = "") -> bytes:
        seen.append(name)
        if len(seen) == 3:
            Manifest(place).compact()
        return read(place, name)

    monkeypatch.setattr(Place, "read", reading)
    assert manifest.read()["output"].to_pylist() == [f"{number}.png" for number in range(4)]
    assert len(seen) > 4


def test_a_part_that_stays_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = Manifest(Place.of(str(tmp_path)))
    path = manifest.add("1", [row("a.png", 0)])
    monkeypatch.setattr(Place, "files", lambda *_, **__: iter([(path, 1)]))
    (tmp_path / path).unlink()
    with pytest.raises(UsageError, match=r"1.parquet: it is damaged"):
        manifest.read()
