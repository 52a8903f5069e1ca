"""Outputs appear whole under their final name, or not at all."""

import errno
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from pcsr.atomic import (
    atomic_directory,
    atomic_file,
    folder_lock,
    locks,
    outputs,
    remove_leftovers,
    renaming,
    temporaries,
)
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


def old_directory(folder: Path) -> Path:
    target = folder / "bundle"
    target.mkdir()
    fill(target, "old")
    return target


def test_existing_directory_is_replaced_whole(tmp_path: Path) -> None:
    target = old_directory(tmp_path)
    (target / "old-engine").touch()
    with atomic_directory(target, overwrite=True) as temporary:
        fill(temporary, "new")
        assert sorted(os.listdir(target)) == ["graph", "old-engine"]
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


# What others do meanwhile


@pytest.fixture(params=["renameat2", "links", "neither"])
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Systems that can rename without replacing, that have hard links instead, or nothing."""

    def cannot(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    if request.param != "renameat2":
        monkeypatch.setattr(renaming, "_rename", lambda *_: False)
    if request.param == "neither":
        monkeypatch.setattr(os, "link", cannot)
    return str(request.param)


@pytest.mark.usefixtures("system")
def test_a_file_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    target = tmp_path / "a.png"

    def write() -> None:
        with atomic_file(target) as temporary:
            temporary.write_text("new")
            target.write_text("precious")

    with pytest.raises(OutputError, match=r"a\.png exists; pass --overwrite"):
        write()
    assert contents(tmp_path) == {"a.png": "precious"}


@pytest.mark.usefixtures("system")
def test_a_new_file_leaves_nothing_beside_it(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "a.png") as temporary:
        temporary.write_text("new")
    assert contents(tmp_path) == {"a.png": "new"}


@pytest.mark.usefixtures("system")
def test_a_folder_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    target = tmp_path / "bundle"

    def write() -> None:
        with atomic_directory(target) as temporary:
            fill(temporary, "new")
            target.mkdir()
            fill(target, "precious")

    with pytest.raises(OutputError, match="exists"):
        write()
    assert contents(target) == {"graph": "precious"}
    assert os.listdir(tmp_path) == ["bundle"]


@pytest.mark.usefixtures("system")
def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    target.mkdir()
    with atomic_directory(target) as temporary:
        fill(temporary, "new")
    assert contents(target) == {"graph": "new"}


@pytest.mark.usefixtures("system")
def test_what_must_not_be_replaced_stays(tmp_path: Path) -> None:
    def refuse(path: Path) -> None:
        raise OutputError(f"{path} is not a bundle")

    target = tmp_path / "bundle"

    def write() -> None:
        with atomic_directory(target, overwrite=True, check=refuse) as temporary:
            fill(temporary, "new")
            target.mkdir()
            fill(target, "precious")

    with pytest.raises(OutputError, match="not a bundle"):
        write()
    assert contents(target) == {"graph": "precious"}
    assert os.listdir(tmp_path) == ["bundle"]


def test_what_comes_between_check_and_exchange_is_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = old_directory(tmp_path)

    def refuse_precious(path: Path) -> None:
        if contents(path)["graph"] == "precious":
            raise OutputError("precious")

    def late(one: Path, other: Path) -> bool:
        monkeypatch.setattr(outputs, "exchange", renaming.exchange)
        other.rename(tmp_path / "away")
        other.mkdir()
        fill(other, "precious")
        return renaming.exchange(one, other)

    monkeypatch.setattr(outputs, "exchange", late)
    replacing = atomic_directory(target, overwrite=True, check=refuse_precious)
    with pytest.raises(OutputError, match="precious"), replacing as temporary:
        fill(temporary, "new")
    assert contents(target) == {"graph": "precious"}
    assert sorted(os.listdir(tmp_path)) == ["away", "bundle"]


@pytest.mark.usefixtures("system")
@pytest.mark.parametrize("to", ["nowhere", "bundle"])
def test_a_link_is_replaced_and_what_it_leads_to_is_kept(to: str, tmp_path: Path) -> None:
    old_directory(tmp_path)
    link = tmp_path / "link"
    link.symlink_to(to)
    with pytest.raises(OutputError, match="exists"), atomic_directory(link):
        pass
    with atomic_directory(link, overwrite=True) as temporary:
        fill(temporary, "new")
    assert contents(link) == {"graph": "new"}
    assert not link.is_symlink()
    assert sorted(os.listdir(tmp_path)) == ["bundle", "link"]
    assert contents(tmp_path / "bundle") == {"graph": "old"}


def test_without_exchange_a_rename_that_fails_brings_the_old_directory_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = old_directory(tmp_path)
    honest, calls = os.rename, iter(range(9))

    def fails(source: Path, destination: Path) -> None:
        if next(calls) == 2:  # after the attempt that finds it taken, and setting it aside
            raise OSError(5, "Input/output error")
        honest(source, destination)

    monkeypatch.setattr(renaming, "_rename", lambda *_: False)
    monkeypatch.setattr(os, "rename", fails)
    replacing = atomic_directory(target, overwrite=True)
    with pytest.raises(OutputError, match="Input/output error"), replacing as new:
        fill(new, "new")
    assert os.listdir(tmp_path) == ["bundle"]
    assert contents(target) == {"graph": "old"}


def test_what_a_kill_left_aside_is_put_back(tmp_path: Path) -> None:
    target = old_directory(tmp_path)
    target.rename(tmp_path / ".bundle.pcsr-old")
    with pytest.raises(OutputError, match="exists"), atomic_directory(target) as new:
        fill(new, "new")
    assert os.listdir(tmp_path) == ["bundle"]
    assert contents(target) == {"graph": "old"}


# Leftovers


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was left a moment ago counts as old."""
    monkeypatch.setattr(temporaries, "SETTLED_S", 0.0)


def name_of(system: str) -> str:
    return f".pcsr-{system}-00c0ffee.png"


@pytest.mark.usefixtures("settled")
def test_leftovers_of_killed_processes_are_removed(tmp_path: Path) -> None:
    (tmp_path / name_of(temporaries._system())).write_text("half")
    (tmp_path / name_of(temporaries._system()).removesuffix(".png")).mkdir()
    with atomic_file(tmp_path / "a.png") as temporary:
        temporary.write_text("new")
    assert contents(tmp_path) == {"a.png": "new"}


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("atomic", [atomic_file, atomic_directory])
def test_what_is_being_written_is_no_leftover(atomic: Atomic, tmp_path: Path) -> None:
    with atomic(tmp_path / "a") as temporary:
        remove_leftovers(tmp_path)
        assert temporary.exists()


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("name", [name_of("0123abcd"), ".pcsr-00c0ffee.png", ".pcsr-mine", "a.png"])
def test_files_of_other_hosts_and_of_the_user_are_kept(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("precious")
    remove_leftovers(tmp_path)
    assert contents(tmp_path) == {name: "precious"}


@pytest.mark.parametrize("system", ["0123abcd", temporaries._system()])
def test_leftovers_are_removed_once_they_are_old_enough(
    system: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name_of(system)).write_text("half")
    remove_leftovers(tmp_path)
    assert len(os.listdir(tmp_path)) == 1
    later = time.time() + temporaries.FOREIGN_S + 1
    monkeypatch.setattr(time, "time", lambda: later)
    remove_leftovers(tmp_path)
    assert os.listdir(tmp_path) == []


def test_a_device_in_a_leftovers_place_is_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(temporaries, "SETTLED_S", -1.0)
    os.mkfifo(tmp_path / name_of(temporaries._system()))
    remove_leftovers(tmp_path)
    assert len(os.listdir(tmp_path)) == 1


def test_a_lock_that_others_hold_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "WAIT_S", 0.1)
    with (
        folder_lock(tmp_path),
        pytest.raises(OutputError, match="in use by another process"),
        folder_lock(tmp_path),
    ):
        pytest.fail("both have it")
