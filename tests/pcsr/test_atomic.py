"""Outputs appear whole under their final name, or not at all."""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from pcsr.atomic import atomic_directory, atomic_file
from pcsr.errors import OutputError

Atomic = Callable[[Path], AbstractContextManager[Path]]
FAILURES = [ValueError("spoilt"), KeyboardInterrupt(), SystemExit(1), MemoryError()]


@pytest.fixture
def umask() -> Iterator[None]:
    """A mask that is neither the usual one nor that of temporary files."""
    before = os.umask(0o027)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_file_appears_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "a.png"
    with atomic_file(target) as temporary:
        temporary.write_text("new")
        assert not target.exists()
        assert temporary.parent == tmp_path, "a rename must not cross file systems"
        assert temporary.suffix == ".png", "encoders choose by it"
        assert temporary.name.startswith("."), "no glob finds it"
    assert contents(tmp_path) == {"a.png": "new"}


def spoil_file(target: Path, failure: BaseException) -> None:
    with atomic_file(target, overwrite=True) as temporary:
        temporary.write_text("half")
        raise failure


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
@pytest.mark.parametrize("existing", [False, True])
def test_file_is_not_written_on_failure(
    failure: BaseException, existing: bool, tmp_path: Path
) -> None:
    target = tmp_path / "a.png"
    if existing:
        target.write_text("old")
    with pytest.raises(type(failure)):
        spoil_file(target, failure)
    assert contents(tmp_path) == ({"a.png": "old"} if existing else {})


def test_existing_file_is_kept_without_overwrite(tmp_path: Path) -> None:
    target = tmp_path / "a.png"
    target.write_text("old")
    with pytest.raises(OutputError, match="exists; pass --overwrite"), atomic_file(target):
        pytest.fail("the body must not run")
    assert contents(tmp_path) == {"a.png": "old"}


def test_existing_file_is_replaced_with_overwrite(tmp_path: Path) -> None:
    target = tmp_path / "a.png"
    target.write_text("old")
    with atomic_file(target, overwrite=True) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert contents(tmp_path) == {"a.png": "new"}


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_is_never_replaced_by_a_file(overwrite: bool, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="directory"), atomic_file(tmp_path, overwrite):
        pytest.fail("the body must not run")


def test_dangling_link_counts_as_existing(tmp_path: Path) -> None:
    link = tmp_path / "a.png"
    link.symlink_to("nowhere.png")
    with pytest.raises(OutputError, match="exists"), atomic_file(link) as temporary:
        temporary.write_text("new")
    assert link.is_symlink()


@pytest.mark.usefixtures("umask")
def test_file_mode_obeys_umask(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "a") as temporary:
        temporary.write_text("new")
    assert mode(tmp_path / "a") == 0o640


@pytest.mark.parametrize("name", ["a" * 251 + ".png", "ü" * 127, "new\nline", " ", "-"])
def test_any_name_that_the_file_system_takes(name: str, tmp_path: Path) -> None:
    with atomic_file(tmp_path / name) as temporary:
        temporary.write_text("new")
    assert contents(tmp_path) == {name: "new"}


@pytest.mark.parametrize("name", ["a" * 300, "no/folder/a.png"])
@pytest.mark.parametrize("atomic", [atomic_file, atomic_directory])
def test_names_that_cannot_be_written(name: str, atomic: Atomic, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot write"), atomic(tmp_path / name):
        pass
    assert contents(tmp_path) == {}


@pytest.mark.parametrize("atomic", [atomic_file, atomic_directory])
def test_a_failed_write_is_an_output_error(atomic: Atomic, tmp_path: Path) -> None:
    full = OSError(28, "No space left on device")
    expected = pytest.raises(OutputError, match=r"cannot write .*a: No space left on device$")
    with expected, atomic(tmp_path / "a"):
        raise full
    assert contents(tmp_path) == {}


def test_an_output_error_of_the_body_stays_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"^my own words$"), atomic_file(tmp_path / "a"):
        raise OutputError("my own words")


def test_two_writers_do_not_meet(tmp_path: Path) -> None:
    target = tmp_path / "a"
    with atomic_file(target, overwrite=True) as one, atomic_file(target, overwrite=True) as two:
        assert one != two
        one.write_text("one")
        two.write_text("two")
    assert contents(tmp_path) == {"a": "one"}


# Directories


def fill(directory: Path, text: str) -> None:
    (directory / "graph").write_text(text)


def test_directory_appears_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    with atomic_directory(target) as temporary:
        fill(temporary, "new")
        assert not target.exists()
        assert temporary.parent == tmp_path
    assert os.listdir(tmp_path) == ["bundle"]
    assert contents(target) == {"graph": "new"}


@pytest.mark.usefixtures("umask")
def test_directory_mode_obeys_umask(tmp_path: Path) -> None:
    with atomic_directory(tmp_path / "bundle") as temporary:
        fill(temporary, "new")
    assert mode(tmp_path / "bundle") == 0o750


def test_existing_directory_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    target.mkdir()
    (target / "old-engine").touch()
    with atomic_directory(target) as temporary:
        fill(temporary, "new")
        assert os.listdir(target) == ["old-engine"]
    assert contents(target) == {"graph": "new"}
    assert os.listdir(tmp_path) == ["bundle"]


def spoil_directory(target: Path, failure: BaseException) -> None:
    with atomic_directory(target) as temporary:
        fill(temporary, "half")
        raise failure


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
@pytest.mark.parametrize("existing", [False, True])
def test_directory_is_not_written_on_failure(
    failure: BaseException, existing: bool, tmp_path: Path
) -> None:
    target = tmp_path / "bundle"
    if existing:
        target.mkdir()
        fill(target, "old")
    with pytest.raises(type(failure)):
        spoil_directory(target, failure)
    assert os.listdir(tmp_path) == (["bundle"] if existing else [])
    assert not existing or contents(target) == {"graph": "old"}


def test_a_rename_that_fails_brings_the_old_directory_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "bundle"
    target.mkdir()
    fill(target, "old")
    honest, calls = os.replace, iter(range(9))

    def second_fails(source: Path, destination: Path) -> None:
        if next(calls) == 1:
            raise OSError(5, "Input/output error")
        honest(source, destination)

    monkeypatch.setattr(os, "replace", second_fails)
    with pytest.raises(OutputError, match="Input/output error"), atomic_directory(target) as new:
        fill(new, "new")
    assert os.listdir(tmp_path) == ["bundle"]
    assert contents(target) == {"graph": "old"}
