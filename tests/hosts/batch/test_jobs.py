"""pcsr-upscale --engine ray, on a real cluster: the same files as one process makes."""

import hashlib
import shutil
from pathlib import Path
from typing import Any

import pytest

from pcsr.batch import read_manifest
from pcsr.batch.storage.manifest import COLUMNS
from pcsr.batch.storage.places import Place
from pcsr.batch.storage.running import running
from tests.commands import Ended, assert_clean, assert_refused, end, snapshot, start, upscale
from tests.runtime.files.pictures import picture, spoilt


def rows(output: object) -> dict[str, dict[str, Any]]:
    """The manifest by output."""
    return {row["output"]: row for row in read_manifest(str(output)).to_pylist()}


def results(folder: Path) -> dict[str, bytes | None]:
    """What lies in a folder of results besides the manifest."""
    return {name: data for name, data in snapshot(folder).items() if not name.startswith("_pcsr")}


def on_ray(*args: object) -> Ended:
    ended = upscale(*args, "--engine", "ray", "--threads", "1")
    assert_clean(ended)
    return ended


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Images of many sizes, kinds and names."""
    folder = tmp_path / "in"
    for number in range(24):
        size = (5 + 7 * number % 60, 4 + 11 * number % 90)
        picture(folder / f"a b/{number}.png", size=size, seed=number)
    picture(folder / "größe/日本.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0")
    picture(folder / "größe/a?b#c%20.tiff", "I;16", (40, 30))
    picture(folder / "alpha.webp", "RGBA", (33, 20))
    picture(folder / "palette.gif", "P", (9, 9))
    return folder


def test_two_workers_make_what_one_process_makes(
    cluster: str, carn_like_bundle: Path, photos: Path, tmp_path: Path
) -> None:
    options = ("--recursive", "--adaptive", "--scale", 2.5)
    assert upscale(carn_like_bundle, photos, tmp_path / "one", *options).code == 0
    ended = on_ray(carn_like_bundle, photos, tmp_path / "out", *options, "--workers", 2)
    assert ended.code == 0, ended.stderr
    assert results(tmp_path / "out") == results(tmp_path / "one")
    table = read_manifest(str(tmp_path / "out"))
    assert table.column_names == list(COLUMNS)
    found = rows(tmp_path / "out")
    assert len(found) == 28
    for name, row in found.items():
        data = (tmp_path / "out" / name).read_bytes()
        assert row["sha256"] == hashlib.sha256(data).hexdigest()
        assert Path(row["input"]).is_file()
        assert row["bytes"] == len(data)
        assert row["error"] is None
        assert row["attempts"] == 1
        assert 0 <= row["heavy_share"] <= 1 < row["ms"] + 1
    row = found["größe/a?b#c%20.tiff"]
    assert (row["input_height"], row["input_width"]) == (40, 30)
    assert (row["height"], row["width"]) == (100, 75)
    assert sorted(p.name for p in (tmp_path / "out/_pcsr").glob("*.*")) == [
        "manifest.parquet",
        "settings.json",
    ]
    assert not list((tmp_path / "out/_pcsr").glob("*/*"))


def test_other_readers_read_the_manifest(
    cluster: str, carn_like_bundle: Path, tmp_path: Path
) -> None:
    import pandas
    from pyarrow import dataset

    picture(tmp_path / "in/a.png")
    (tmp_path / "in/b.png").write_bytes(b"nothing")
    assert on_ray(carn_like_bundle, tmp_path / "in", tmp_path / "out").code == 1
    frame = pandas.read_parquet(tmp_path / "out/_pcsr/manifest.parquet")
    assert list(frame["output"]) == ["a.png", "b.png"]
    assert frame["error"].isna().tolist() == [True, False]
    table = dataset.dataset(tmp_path / "out/_pcsr/manifest.parquet").to_table(columns=["width"])
    assert table["width"].to_pylist() == [80, None]


def test_a_second_run_does_what_failed_and_what_is_missing(
    cluster: str, carn_like_bundle: Path, tmp_path: Path
) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    for name in "abcd":
        picture(source / f"{name}.png", seed=ord(name))
    (source / "b.png").write_bytes(b"damaged")
    assert on_ray(carn_like_bundle, source, out).code == 1
    before = {path.name: path.stat() for path in out.glob("*.png")}
    assert sorted(before) == ["a.png", "c.png", "d.png"]
    picture(source / "b.png")
    (out / "c.png").unlink()
    ended = on_ray(carn_like_bundle, source, out)
    assert ended.code == 0
    assert "2 done, 0 failed, 2 skipped" in ended.stderr
    for name in ("a.png", "d.png"):
        after = (out / name).stat()
        assert (after.st_ino, after.st_mtime_ns) == (before[name].st_ino, before[name].st_mtime_ns)
    assert [rows(out)[f"{n}.png"]["attempts"] for n in "abcd"] == [1, 2, 2, 1]


def test_settings_that_changed_are_refused(
    cluster: str, carn_like_bundle: Path, three_way_bundle: Path, tmp_path: Path
) -> None:
    source, out = picture(tmp_path / "in/a.png").parent, tmp_path / "out"
    assert on_ray(carn_like_bundle, source, out).code == 0
    before = snapshot(out)
    for bundle, options, word in (
        (carn_like_bundle, ("--scale", 2), "scale 4.0, found 2.0"),
        (carn_like_bundle, ("--adaptive",), "routing none, found {'adaptive': True}"),
        (carn_like_bundle, ("--format", "jpg"), "format none, found .jpg"),
        (carn_like_bundle, ("--quality", 9), "quality 95, found 9"),
        (three_way_bundle, (), "bundle_sha256"),
    ):
        ended = upscale(bundle, source, out, "--engine", "ray", "--threads", "1", *options)
        assert_refused(ended, 2, f"holds results of {word}".replace("{", "\\{"))
        assert snapshot(out) == before
    assert on_ray(carn_like_bundle, source, out, "--scale", 2, "--overwrite").code == 0
    assert rows(out)["a.png"]["width"] == 40


def test_files_of_others_are_not_replaced(
    cluster: str, carn_like_bundle: Path, tmp_path: Path
) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    picture(source / "a.png")
    picture(source / "b.png")
    mine = picture(out / "a.png", size=(2, 2)).read_bytes()
    for _ in range(2):
        ended = on_ray(carn_like_bundle, source, out)
        assert ended.code == 1
        assert "a.png exists; pass --overwrite" in ended.stderr
        assert (out / "a.png").read_bytes() == mine
    assert "exists" in rows(out)["a.png"]["error"]
    assert on_ray(carn_like_bundle, source, out, "--skip-existing").code == 0
    assert (out / "a.png").read_bytes() == mine
    assert on_ray(carn_like_bundle, source, out, "--overwrite").code == 0
    assert (out / "a.png").read_bytes() == (out / "b.png").read_bytes()


def test_bad_images_are_rows(cluster: str, carn_like_bundle: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    picture(source / "good.png")
    picture(source / "large.png", size=(200, 200))
    bad = [path.name for path in spoilt(source)]
    ended = on_ray(carn_like_bundle, source, out, "--max-pixels", 30_000)
    alone = upscale(carn_like_bundle, source, tmp_path / "one", "--max-pixels", 30_000)
    assert ended.code == alone.code == 1
    errors = {line for line in ended.stderr.splitlines() if line.startswith("error: ")}
    assert errors == {line for line in alone.stderr.splitlines() if line.startswith("error: ")}
    found = rows(out)
    assert sorted(name for name, row in found.items() if row["error"]) == sorted(
        [*bad, "large.png"]
    )
    assert results(out) == results(tmp_path / "one")


def test_on_error_stop_keeps_what_was_done(
    cluster: str, carn_like_bundle: Path, tmp_path: Path
) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    for number in range(12):
        picture(source / f"{number:02}.png")
    (source / "05.png").write_bytes(b"damaged")
    ended = upscale(
        *(carn_like_bundle, source, out, "--engine", "ray", "--threads", 1, "--on-error", "stop")
    )
    assert ended.code == 1
    assert "cannot read" in ended.stderr
    assert "05.png" in ended.stderr
    done = {name for name, row in rows(out).items() if row["error"] is None}
    assert done == set(results(out)) != set()
    picture(source / "05.png")
    before = {name: (out / name).stat().st_ino for name in done}
    assert on_ray(carn_like_bundle, source, out).code == 0
    assert {name: (out / name).stat().st_ino for name in done} == before
    assert len(results(out)) == 12


def test_a_start_that_fails_leaves_nothing(
    cluster: str, carn_like_bundle: Path, tmp_path: Path
) -> None:
    source, out = picture(tmp_path / "in/a.png").parent, tmp_path / "out"
    ended = upscale(carn_like_bundle, source, out, "--engine", "ray", "--threads", 200)
    assert_refused(ended, 3, "no node of the cluster has 200 cores")
    assert not out.exists()


def test_a_second_job_is_refused(carn_like_bundle: Path, tmp_path: Path) -> None:
    source, out = picture(tmp_path / "in/a.png").parent, tmp_path / "out"
    for options in ((), ("--overwrite",), ("--skip-existing",)):
        with running(Place.of(str(out))):
            before = snapshot(out)
            ended = upscale(carn_like_bundle, source, out, "--engine", "ray", *options)
            assert_refused(ended, 2, "another job works on .*out, begun at ")
            assert snapshot(out) == before


def test_file_uris(cluster: str, carn_like_bundle: Path, tmp_path: Path) -> None:
    source = picture(tmp_path / "in here/ü.png").parent
    ended = on_ray(carn_like_bundle, source.as_uri(), (tmp_path / "out").as_uri())
    assert ended.code == 0, ended.stderr
    assert list(rows((tmp_path / "out").as_uri())) == ["ü.png"]
    assert upscale(carn_like_bundle, source, tmp_path / "one").code == 0
    assert results(tmp_path / "out") == results(tmp_path / "one")


def test_an_empty_folder(carn_like_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    ended = upscale(carn_like_bundle, tmp_path / "in", tmp_path / "out", "--engine", "ray")
    assert_refused(ended, 2, "no .png .* file in ")
    assert not (tmp_path / "out").exists()


def test_two_inputs_of_one_output(carn_like_bundle: Path, tmp_path: Path) -> None:
    sources = [picture(tmp_path / f"{n}/a.png") for n in "12"]
    ended = upscale(carn_like_bundle, *sources, tmp_path / "out", "--engine", "ray")
    assert_refused(ended, 2, "would both become")


REFUSED = [
    (["--engine", "spark"], 2, "expected --engine ray or --engine ray=ADDRESS, found spark"),
    (["--engine", "ray="], 2, "expected --engine ray or"),
    (["--workers", "2"], 2, "go with --engine"),
    (["--on-error", "stop"], 2, "go with --engine"),
    (["--engine", "ray", "--overlay", "map.png"], 2, "--overlay does not go with --engine"),
    (["--engine", "ray", "--codec", "x"], 2, "are for videos"),
    (["--engine", "ray", "--device", "cuda:0"], 2, "expected --device cpu or cuda"),
    (["--engine", "ray", "--scale", "0.5"], 2, "scale"),
    (["--engine", "ray", "--preset", "fast"], 2, "operating point"),
    (["--engine", "ray", "--format", "mp4"], 2, "is for videos"),
]


@pytest.mark.parametrize(("options", "code", "pattern"), REFUSED, ids=lambda value: str(value)[:40])
def test_refusals(
    carn_like_bundle: Path, tmp_path: Path, options: list[str], code: int, pattern: str
) -> None:
    source = picture(tmp_path / "in/a.png").parent
    assert_refused(upscale(carn_like_bundle, source, tmp_path / "out", *options), code, pattern)
    assert not (tmp_path / "out").exists()


CLUSTERS = [
    ("nowhere", 2, "ray=HOST:PORT"),
    ("127.0.0.1:1", 3, "cannot reach the cluster at 127.0.0.1:1"),
    ("ray://127.0.0.1:1", 3, "cannot reach the cluster at ray://127.0.0.1:1"),
]


@pytest.mark.parametrize(("address", "code", "pattern"), CLUSTERS)
def test_clusters_that_are_not_there(
    carn_like_bundle: Path, tmp_path: Path, address: str, code: int, pattern: str
) -> None:
    source = picture(tmp_path / "in/a.png").parent
    given = ("--engine", f"ray={address}")
    process = start("pcsr-upscale", carn_like_bundle, source, tmp_path / "out", *given)
    assert_refused(end(process), code, pattern)
    assert not (tmp_path / "out").exists()


def test_refused_names(carn_like_bundle: Path, tmp_path: Path) -> None:
    source = picture(tmp_path / "in/a.png")
    for given, output, pattern in (
        (source, tmp_path / "out.png", "writes into a folder"),
        (source, source, "writes into a folder"),
        ("-", tmp_path / "out", "does not go with --engine"),
        (source, "-", "does not go with --engine"),
        ("what://x/y", tmp_path / "out", "expected a path or a URI that pyarrow knows"),
        (tmp_path / "none", tmp_path / "out", "cannot open"),
    ):
        ended = upscale(carn_like_bundle, given, output, "--engine", "ray")
        assert_refused(ended, 2, pattern)
    shutil.copy(source, tmp_path / "in/film.mp4")
    ended = upscale(carn_like_bundle, tmp_path / "in/film.mp4", tmp_path / "out", "--engine", "ray")
    assert_refused(ended, 2, "upscales images, found the video")
