"""What a pack holds, and what its file says of it."""

import json
from pathlib import Path

import pytest

from benchmarks.environment import RUN_ON_GPU, commit, source_hash
from benchmarks.networks import bundle_name, find_networks
from benchmarks.pack import contents
from benchmarks.pack.contents import (
    copy_checkpoints,
    export_bundles,
    read_facts,
    size_of,
    tree_of,
    write_facts,
)
from pcsr.errors import OutputError, UsageError
from tests import checkpoints


def made(path: Path, size: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    return path


def test_checkpoints_are_copied_as_far_as_they_are_there(tmp_path: Path) -> None:
    source, pack = tmp_path / "source", tmp_path / "pack"
    for name in ("carn-x4.pth", "carn-pcsr.pth", "fsrcnn-x4.pth", "other.pth"):
        made(source / name).chmod(0o444)
    for _ in range(2):
        copied = copy_checkpoints(["carn"], source, pack)
    assert {path.relative_to(pack) for path in copied} == {
        Path("checkpoints/carn-pcsr.pth"),
        Path("checkpoints/carn-x4.pth"),
    }
    assert sorted((pack / "checkpoints").iterdir()) == sorted(copied)


@pytest.mark.slow
def test_a_run_exports_nothing_that_a_pack_holds(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    checkpoints.save(checkpoints.tiny("fsrcnn"), folder / "fsrcnn-pcsr.pth")
    checkpoints.save(checkpoints.plain_checkpoint("fsrcnn"), folder / "fsrcnn-x4.pth")
    found = export_bundles(["fsrcnn"], tmp_path, lambda text: None)
    names = [bundle_name(folder / f"fsrcnn-{kind}.pth", ("fp16",)) for kind in ("pcsr", "x4")]
    assert found == {"fsrcnn": [tmp_path / "bundles" / name for name in names]}
    said: list[str] = []
    find_networks("fsrcnn", folder, tmp_path / "bundles", said.append, ("fp32", "fp16"))
    assert said == []


def test_a_network_that_cannot_be_exported_is_no_pack(tmp_path: Path) -> None:
    made(tmp_path / "checkpoints" / "carn-pcsr.pth")
    with pytest.raises(OutputError, match=r"not every network could be exported: carn: .*fp16"):
        export_bundles(["carn"], tmp_path, lambda text: None)


def test_the_file_lists_what_is_inside(tmp_path: Path) -> None:
    paths = [made(tmp_path / "wheels" / "a.whl", 3), made(tmp_path / "bundles" / "b" / "c", 5)]
    facts = write_facts(tmp_path, [paths[0], paths[1].parent], ["carn"])
    assert facts == read_facts(tmp_path)
    assert facts["inside"] == {"bundles/b": 5, "wheels/a.whl": 3}
    assert facts["sources"] == source_hash(RUN_ON_GPU)
    assert (facts["commit"], facts["dirty"]) == tuple(commit().values())
    assert size_of(tmp_path / "bundles") == 5


def test_what_a_pack_held_of_these_models_before_is_deleted(tmp_path: Path) -> None:
    old = made(tmp_path / "bundles" / "carn-old" / "file")
    other = made(tmp_path / "bundles" / "fsrcnn-old" / "file")
    foreign = made(tmp_path / "bundles" / "carn-foreign" / "file")
    write_facts(tmp_path, [old.parent, other.parent], ["carn", "fsrcnn"])
    new = made(tmp_path / "bundles" / "carn-new" / "file")
    facts = write_facts(tmp_path, [new.parent], ["carn"])
    assert not old.parent.exists()
    assert other.exists()
    assert foreign.exists()
    assert facts["inside"] == {"bundles/carn-new": 1, "bundles/fsrcnn-old": 1}


def test_nothing_outside_a_pack_is_deleted(tmp_path: Path) -> None:
    outside, pack = made(tmp_path / "carn-mine"), tmp_path / "pack"
    made(pack / "pack.json").write_text('{"inside": {"../carn-mine": 1}}')
    write_facts(pack, [], ["carn"])
    assert outside.exists()


@pytest.mark.parametrize("text", [None, "{", "\xff"])
def test_a_folder_that_is_no_pack_is_said_to_be_none(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "pack.json").write_text(text, encoding="latin-1")
    with pytest.raises(UsageError, match="is no pack"):
        read_facts(tmp_path)


def test_without_git_the_commit_is_that_of_the_pack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = write_facts(tmp_path, [], ["carn"]) | {"commit": "abc", "dirty": False}
    (tmp_path / "pack.json").write_text(json.dumps(facts))
    monkeypatch.setattr(contents, "commit", lambda: {"commit": "def", "dirty": True})
    assert tree_of(tmp_path) == {}
    monkeypatch.setattr(contents, "commit", lambda: {"commit": None, "dirty": None})
    assert tree_of(tmp_path) == {"commit": "abc", "dirty": False}
    monkeypatch.setattr(contents, "source_hash", lambda patterns: "other sources")
    assert tree_of(tmp_path) == {"commit": "abc", "dirty": True}


@pytest.mark.parametrize("text", ["[]", "{}", "3"])
def test_other_json_is_no_pack(text: str, tmp_path: Path) -> None:
    (tmp_path / "pack.json").write_text(text)
    with pytest.raises(UsageError, match="is no pack"):
        read_facts(tmp_path)
