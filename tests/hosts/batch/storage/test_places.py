"""Files on file systems that are not local: they are there whole, or not at all."""

import hashlib
import pickle
from pathlib import Path
from typing import Any

import pytest
from pyarrow import fs

from pcsr.batch import read_manifest
from pcsr.batch.planning import Task, batches, outline
from pcsr.batch.rows import Rows, Written
from pcsr.batch.staging import Staging
from pcsr.batch.storage import places
from pcsr.batch.storage.manifest import Manifest
from pcsr.batch.storage.places import Place
from pcsr.errors import ImageError, OutputError, PcsrError, UsageError
from pcsr.runtime.files.jobs import Job
from tests.runtime.files.pictures import picture


@pytest.fixture(params=["mock://top", "subtree://top"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A place that is not local: in memory, or a folder as another file system."""
    if request.param == "subtree://top":
        (tmp_path / "tree").mkdir()
        system = fs.SubTreeFileSystem(str(tmp_path / "tree"), fs.LocalFileSystem())
        monkeypatch.setattr(places, "_opened", lambda uri: (system, "top"))
    else:
        system = fs.FileSystem.from_uri("mock:///")[0]
        monkeypatch.setattr(places, "_opened", lambda uri: (system, "top"))
    return Place.of(request.param)


def test_names() -> None:
    assert Place.of("file:///a%20b/c").local == Path("/a b/c")
    assert Place.of("a/b").local == Path("a/b").absolute()
    remote = Place.of("s3://bucket/a?scheme=http")
    assert remote.local is None
    assert (remote.shown(), remote.shown("b c/d.png")) == (
        "s3://bucket/a",
        "s3://bucket/a/b c/d.png",
    )
    assert pickle.loads(pickle.dumps(remote)) == remote
    with pytest.raises(UsageError, match="expected a path or a URI that pyarrow knows"):
        Place.of("what://x/y").path()


def test_files_are_written_and_found(place: Place) -> None:
    assert list(place.files()) == []
    place.write("a b/ü.png", b"first")
    place.write("a b/ü.png", b"second")
    place.write("c.png", b"")
    assert sorted(place.files()) == [("a b/ü.png", 6), ("c.png", 0)]
    assert list(place.files(recursive=False)) == [("c.png", 0)]
    assert place.read("a b/ü.png") == b"second"
    assert not place.is_file()
    place.delete("c.png")
    assert list(place.files()) == [("a b/ü.png", 6)]
    with pytest.raises(ImageError, match=r"cannot read .*/none"):
        place.read("none")
    with pytest.raises(ImageError, match="expected at most 3 bytes, found 6"):
        place.read("a b/ü.png", 3)


class Failing:
    """A file system of any type whose streams break after half of what they are given."""

    def __init__(self, system: Any, type_name: str) -> None:  # noqa: ANN401
        self._system, self.type_name = system, type_name

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._system, name)

    def open_output_stream(self, path: str) -> Any:  # noqa: ANN401
        stream = self._system.open_output_stream(path)

        class Half:
            close = staticmethod(stream.close)

            def write(self, data: bytes) -> None:
                stream.write(data[: len(data) // 2])
                raise OSError("the network is gone")

        return Half()


@pytest.mark.parametrize("type_name", ["s3", "hdfs"])
def test_a_write_that_fails_leaves_nothing(type_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    system = fs.FileSystem.from_uri("mock:///")[0]
    system.create_dir("top")
    monkeypatch.setattr(places, "_opened", lambda uri: (Failing(system, type_name), "top"))
    with pytest.raises(OutputError, match=r"cannot write x://y/a.png: the network is gone"):
        Place.of("x://y").write("a.png", b"image")
    found = system.get_file_info(fs.FileSelector("top", recursive=True))
    assert [info.path for info in found] == []


def test_staging(place: Place, tmp_path: Path) -> None:
    for number in range(20):
        place.write(f"{number}.png", b"%d" % number)
    tasks = [Task(n, f"x://{n}.png", 0, f"{n}.png", f"out/{n}.png", 2) for n in range(20)]
    tasks[7] = Task(7, "x://none.png", 0, "none.png", "out/7.png", 2)
    finished = dict[int, tuple[object, Written]]()

    def finish(number: int, stats: object, written: Written) -> None:
        finished[number] = stats, written

    with Staging(tasks, [place], place, tmp_path, 100, finish) as staging:
        for number, job in enumerate(staging.jobs):
            if number == 7:
                with pytest.raises(ImageError, match="cannot read"):
                    staging.fetch(job)
                continue
            staging.fetch(job)
            assert job.source.read_bytes() == b"%d" % number
            job.target.write_bytes(b"result %d" % number)
            staging.deliver(job, f"stats {number}")
            staging.sent(number)
            assert not job.source.exists()
            assert not job.target.exists()
            assert place.read(f"out/{number}.png") == b"result %d" % number
        message = f"{staging.jobs[3].source} to {staging.jobs[3].target}"
        assert staging.named(3, message) == f"x://3.png to {place.shown('out/3.png')}"
    assert finished[5] == ("stats 5", (hashlib.sha256(b"result 5").hexdigest(), 8))
    assert list(tmp_path.glob("tmp*")) == []


def test_an_output_that_cannot_be_sent(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = Task(0, str(tmp_path / "a.png"), None, "", "a.png", 2)
    with Staging([task], [], place, tmp_path, 100, lambda *_: None) as staging:
        job: Job = staging.jobs[0]
        job.target.write_bytes(b"result")

        def refused(*_: object) -> None:
            raise OutputError("access denied")

        monkeypatch.setattr(Place, "write", refused)
        staging.deliver(job, None)
        with pytest.raises(OutputError, match="access denied"):
            staging.sent(0)


@pytest.mark.parametrize(
    ("recursive", "expected"),
    [
        (False, {"b.png": "b.png"}),
        (True, {"b.png": "b.png", "in/d.png": "in/d.png", "in/sub/a.gif": "in/sub/a.png"}),
    ],
)
def test_remote_inputs(
    place: Place, tmp_path: Path, recursive: bool, expected: dict[str, str]
) -> None:
    for name in ("b.png", "in/sub/a.gif", ".hidden/c.png", "notes.txt", "in/d.png"):
        place.write(name, b"xyz")
    found = outline([place.uri], str(tmp_path / "out"), recursive)
    assert {task.name: task.target for task in found.tasks} == expected
    assert [task.source for task in found.tasks] == [place.shown(name) for name in expected]
    assert [str(job.source) for job in found.plan.jobs] == [task.source for task in found.tasks]
    assert {(task.place, task.bytes) for task in found.tasks} == {(0, 3)}
    assert found.plan.inputs.skipped == {".txt": 1}


def test_remote_folders_without_images(place: Place, tmp_path: Path) -> None:
    place.write("notes.txt", b"xyz")
    with pytest.raises(UsageError, match=r"no image in .*top; name another folder, or pass"):
        outline([place.uri], str(tmp_path / "out"))


def test_results_among_the_inputs_are_not_inputs(place: Place) -> None:
    place.write("a.png", b"x")
    place.write("out/a.png", b"x")
    found = outline([place.uri], f"{place.uri}/out", recursive=True)
    assert [task.name for task in found.tasks] == ["a.png"]


def test_the_manifest_merges_parts(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = Manifest(place)
    assert manifest.settings() is None
    assert len(manifest.read()) == 0
    manifest.write_settings({"scale": 2})
    manifest.plan("run", ["a.png", "b.png"])
    assert manifest.planned() == {"a.png", "b.png"}
    with Rows(manifest, "run-1") as rows:
        rows.add({"output": "b.png", "error": "first", "attempts": 1})
        rows.add({"output": "a.png", "attempts": 1})
    manifest.add("run-2", [{"output": "b.png", "attempts": 2}])
    expected = [("a.png", None, 1), ("b.png", None, 2)]

    def read() -> list[tuple[object, ...]]:
        columns = ("output", "error", "attempts")
        return [tuple(row[name] for name in columns) for row in manifest.read().to_pylist()]

    assert read() == expected
    manifest.compact()
    assert sorted(name for name, _ in place.files("_pcsr")) == [
        "_pcsr/manifest.parquet",
        "_pcsr/settings.json",
    ]
    assert read() == expected
    assert manifest.planned() == set()
    place.write("_pcsr/parts/x.parquet", b"PAR1 damaged")
    with pytest.raises(UsageError, match=r"x.parquet: it is damaged"):
        manifest.read()
    place.write("_pcsr/settings.json", b"{")
    with pytest.raises(UsageError, match=r"settings.json is damaged"):
        manifest.settings()


def test_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(PcsrError, match="no manifest of pcsr-upscale --engine in "):
        read_manifest(str(tmp_path))


def test_batches_are_bounded_by_bytes(tmp_path: Path) -> None:
    sizes = [2**20] * 200 + [2**28] + [0] * 200
    tasks = [Task(n, "", None, "", "", size, replaces=n % 2 == 1) for n, size in enumerate(sizes)]
    found = list(batches(tasks, 1))
    assert sorted(task.index for batch in found for task in batch) == list(range(401))
    for batch in found:
        assert len(batch) <= 64
        assert len(batch) == 1 or sum(task.bytes for task in batch) <= 2**26
        assert len({task.replaces for task in batch}) == 1
    assert max(map(len, batches(tasks[:16], 2))) == 1  # few images go to all workers


def test_local_inputs_and_remote_outputs(place: Place, tmp_path: Path) -> None:
    picture(tmp_path / "in/a.gif", "P")
    found = outline([str(tmp_path / "in")], place.uri)
    assert [(task.source, task.place, task.target) for task in found.tasks] == [
        (str(tmp_path / "in/a.gif"), None, "a.png")
    ]
    assert str(found.plan.jobs[0].target) == place.shown("a.png")
