"""What a run leaves as it is, and what it does again, by the manifest and by what is there."""

import os
from pathlib import Path

import pytest
from pyarrow import parquet

from pcsr.batch.planning import Outline, Task, outline
from pcsr.batch.remaining import Remaining, check_settings, remaining
from pcsr.batch.storage.manifest import Manifest
from pcsr.batch.storage.places import Place
from pcsr.errors import UsageError
from tests.commands import assert_refused, upscale
from tests.runtime.files.pictures import picture


@pytest.fixture
def done(tmp_path: Path) -> Outline:
    """A job of two images, of which an earlier run made outputs of ten bytes."""
    out = tmp_path / "out"
    out.mkdir()
    for name in "ab":
        picture(tmp_path / f"in/{name}.png")
        (out / f"{name}.png").write_bytes(b"ten bytes.")
    found = outline([str(tmp_path / "in")], str(out))
    rows = [{"input": t.source, "output": t.target, "bytes": 10} for t in found.tasks]
    Manifest(found.target).add("1", rows)
    return found


def left(found: Outline, skip_existing: bool = False) -> Remaining:
    return remaining(found, Manifest(found.target), False, skip_existing)


def test_a_damaged_output_is_made_again(done: Outline, tmp_path: Path) -> None:
    def names(tasks: object) -> list[str]:
        assert isinstance(tasks, list)
        return [task.target for task in tasks if isinstance(task, Task)]

    assert names(left(done).done) == ["a.png", "b.png"]
    (tmp_path / "out/b.png").write_bytes(b"ten")
    found = left(done)
    assert (names(found.done), names(found.tasks), found.refused) == (["a.png"], ["b.png"], {})
    assert found.tasks[0].replaces
    assert names(left(done, skip_existing=True).tasks) == []


def test_outputs_that_a_killed_run_may_still_write_may_be_replaced(
    done: Outline, tmp_path: Path
) -> None:
    for name in "ab":
        (tmp_path / f"out/{name}.png").unlink()
    Manifest(done.target).plan("killed", ["b.png"])
    assert {task.target: task.replaces for task in left(done).tasks} == {
        "a.png": False,
        "b.png": True,
    }


def test_a_manifest_without_sizes(done: Outline, tmp_path: Path) -> None:
    manifest = Manifest(done.target)
    rows = manifest.read().drop_columns(["bytes"])
    manifest.clear()
    parquet.write_table(rows, tmp_path / "out/_pcsr/manifest.parquet")
    assert manifest.read()["bytes"].null_count == 2
    assert left(done).tasks == []


def test_settings_bind_where_there_are_results(tmp_path: Path) -> None:
    manifest = Manifest(Place.of(str(tmp_path)))
    manifest.write_settings({"scale": 2})
    check_settings(manifest, {"scale": 4}, "out")
    manifest.add("1", [{"output": "a.png", "error": "damaged"}])
    check_settings(manifest, {"scale": 4}, "out")
    manifest.add("2", [{"output": "b.png"}])
    check_settings(manifest, {"scale": 2}, "out")
    with pytest.raises(UsageError, match="out holds results of scale 2, found 4; pass"):
        check_settings(manifest, {"scale": 4}, "out")


def test_names_that_are_not_utf_8(tmp_path: Path, carn_like_bundle: Path) -> None:
    source = picture(tmp_path / "in/a.png").parent
    bad = os.fsdecode(os.fsencode(source) + b"/bad\xff.png")
    os.link(source / "a.png", bad)
    found = outline([str(source)], str(tmp_path / "out"))
    assert [task.target for task in found.tasks] == ["a.png"]
    (error,) = found.plan.inputs.failed
    assert str(error) == (
        f"cannot list {source}/bad\\xff.png in the manifest: its name is not UTF-8; rename it"
    )
    for given, output in ((bad, tmp_path / "out"), (source, bad.removesuffix(".png"))):
        ended = upscale(carn_like_bundle, given, output, "--engine", "ray")
        assert_refused(ended, 2, r"bad\\xff.* not UTF-8")
