"""What pcsr-calibrate adds to a bundle is there as a whole or not at all."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pcsr.amend import commit, new_folder, with_calibration
from pcsr.atomic import temporaries
from pcsr.bundle import MANIFEST, Bundle
from pcsr.errors import BundleError, OutputError
from pcsr.manifest import File, Manifest


@pytest.fixture
def bundle(carn_like_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(carn_like_bundle, tmp_path / "bundle"))


def add(bundle: Path, value: int) -> Bundle:
    with new_folder(bundle, "found") as folder:
        (folder.path / "point.json").write_text(json.dumps({"value": value}))
        file = folder.file("point.json")
        return commit(bundle, lambda m: with_calibration(m, "operating_point", file))


def files(bundle: Path) -> set[str]:
    return {p.relative_to(bundle).as_posix() for p in bundle.rglob("*")}


def test_an_export_holds_no_calibration(bundle: Path) -> None:
    assert Bundle.load(bundle).calibration("operating_point") is None


def test_what_is_added_is_read_and_all_else_stays(bundle: Path) -> None:
    before = Bundle.load(bundle)
    names = files(bundle)
    after = add(bundle, 3)
    assert after.calibration("operating_point") == {"value": 3}
    assert replace(after.manifest, calibrations={}) == before.manifest
    assert files(bundle) == names | {"found", "found/point.json"}


def test_an_older_one_is_replaced_and_removed(bundle: Path) -> None:
    add(bundle, 3)
    after = add(bundle, 4)
    assert after.calibration("operating_point") == {"value": 4}
    assert not (bundle / "found").exists()
    assert add(bundle, 5).manifest.calibrations["operating_point"].file == "found/point.json"


def test_a_failure_leaves_the_bundle_as_it_was(bundle: Path) -> None:
    add(bundle, 3)
    before, manifest = files(bundle), (bundle / MANIFEST).read_bytes()

    def fail(manifest: Manifest) -> Manifest:
        raise KeyboardInterrupt

    def write() -> None:
        with new_folder(bundle, "found") as folder:
            (folder.path / "point.json").write_text("{}")
            commit(bundle, fail)

    with pytest.raises(KeyboardInterrupt):
        write()
    assert files(bundle) == before
    assert (bundle / MANIFEST).read_bytes() == manifest


def test_a_damaged_calibration_is_refused(bundle: Path) -> None:
    after = add(bundle, 3)
    (bundle / "found" / "point.json").write_text("{}")
    with pytest.raises(BundleError, match="damaged"):
        after.calibration("operating_point")


def test_no_json_is_refused(bundle: Path) -> None:
    with new_folder(bundle, "found") as folder:
        (folder.path / "point.json").write_text("{")
        file = folder.file("point.json")
        after = commit(bundle, lambda m: with_calibration(m, "operating_point", file))
    with pytest.raises(BundleError, match="not JSON"):
        after.calibration("operating_point")


def test_an_unknown_calibration_is_refused(bundle: Path) -> None:
    with pytest.raises(BundleError, match="calibrations"):
        commit(bundle, lambda m: with_calibration(m, "other", File("x", "y")))


def test_a_folder_that_cannot_be_made_is_an_output_error(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(OutputError, match="file"), new_folder(file, "found"):
        pass


def test_nothing_outside_the_bundle_is_removed(bundle: Path) -> None:
    outside = bundle.with_name("precious")
    outside.touch()
    commit(bundle, lambda m: with_calibration(m, "int8", File("../precious", "y")))
    commit(bundle, lambda m: replace(m, calibrations={}))
    assert outside.exists()


# Other processes


def test_changes_made_at_once_are_all_kept(bundle: Path) -> None:
    """Each adds to what it finds in the bundle when it is its turn."""

    def append(value: int) -> None:
        with new_folder(bundle, "found") as folder:

            def change(manifest: Manifest) -> Manifest:
                found: Any = Bundle.load(bundle).calibration("operating_point") or {"values": []}
                text = json.dumps({"values": [*found["values"], value]})
                (folder.path / "point.json").write_text(text)
                return with_calibration(manifest, "operating_point", folder.file("point.json"))

            commit(bundle, change)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(append, range(24)))
    found: Any = Bundle.load(bundle).calibration("operating_point")
    assert sorted(found["values"]) == list(range(24))
    assert sum(1 for path in bundle.iterdir() if path.name.startswith("found")) == 1


def test_a_folder_that_others_fill_is_left_alone(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(temporaries, "SETTLED_S", 0.0)
    with new_folder(bundle, "found") as one, new_folder(bundle, "found") as other:
        assert (one.path.name, other.path.name) == ("found", "found-2")
        assert one.path.exists()


def test_an_interrupt_after_the_commit_keeps_what_was_committed(bundle: Path) -> None:
    def interrupted() -> None:
        with new_folder(bundle, "found") as folder:
            (folder.path / "point.json").write_text('{"value": 3}')
            file = folder.file("point.json")
            commit(bundle, lambda m: with_calibration(m, "operating_point", file))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert Bundle.load(bundle).calibration("operating_point") == {"value": 3}


def killed_marker(folder: Path, text: str) -> None:
    (folder / f".pcsr-{temporaries._system()}-00c0ffee.unfinished").write_text(text)


def test_what_killed_calibrations_left_is_removed(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(temporaries, "SETTLED_S", 0.0)
    add(bundle, 3)
    names = files(bundle)
    (bundle / "unfinished").mkdir()
    (bundle / "unfinished" / "half.onnx").touch()
    killed_marker(bundle / "unfinished", "")
    (bundle / "retired").mkdir()
    (bundle / "retired" / "point.json").touch()
    (bundle / "retired" / "notes.txt").touch()
    killed_marker(bundle / "retired", json.dumps(["point.json", "../manifest.json"]))
    killed_marker(bundle / "found", "")
    (bundle / "mine").mkdir()
    with new_folder(bundle, "found") as folder:
        assert folder.path.name == "found-2"
        kept = {"found-2", "mine", "retired", "retired/notes.txt"}
        assert {n for n in files(bundle) if ".pcsr-" not in n} == names | kept
    assert Bundle.load(bundle).calibration("operating_point") == {"value": 3}
