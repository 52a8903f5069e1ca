"""Which names are files and which are folders, what becomes what, and what is left out."""

import os
from pathlib import Path
from typing import Any

import pytest

from tests.commands import assert_clean, assert_refused, upscale
from tests.runtime.files.pictures import picture, size_of


@pytest.fixture(autouse=True)
def _inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    picture(Path("in.png"))
    picture(Path("album/ok.png"))


def made() -> set[str]:
    """The files that are there, besides the two pictures."""
    files = {str(path) for path in Path().rglob("*") if os.path.isfile(path)}
    return files - {"in.png", "album/ok.png"}


PLACES: dict[str, tuple[list[Any], set[str]]] = {
    "dot, folder input": (["album", "results.2024"], {"results.2024/ok.png"}),
    "dot, several": (["in.png", "album", "out.v2"], {"out.v2/in.png", "out.v2/ok.png"}),
    "slash": (["in.png", "out.v2/"], {"out.v2/in.png"}),
    "slash behind a suffix": (["album", "x.png/"], {"x.png/ok.png"}),
    "no suffix": (["in.png", "out"], {"out/in.png"}),
    "a file": (["in.png", "out.d/x.webp"], {"out.d/x.webp"}),
    "-i and -o": (["-i", "in.png", "-o", "x.png", "-s", 2, "-t", 0], {"x.png"}),
    "-i alone": (["-i", "in.png", "x.png"], {"x.png"}),
    "-f": (["album", "out", "-f", "webp"], {"out/ok.webp"}),
    "overlay in a folder": (["in.png", "x.png", "--overlay", "m/"], {"x.png", "m/in.png"}),
    "overlay as a file": (["in.png", "out/", "--overlay", "m.png"], {"out/in.png", "m.png"}),
}


@pytest.mark.parametrize("case", PLACES)
def test_places(case: str, carn_like_bundle: Path) -> None:
    args, expected = PLACES[case]
    ended = upscale(carn_like_bundle, *args)
    assert ended.code == 0, ended.stderr
    assert made() == expected


REFUSED: dict[str, tuple[list[Any], str]] = {
    "folder into a file": (["album", "out/x.png"], "x.png is the name of a file.*x.png/"),
    "several into a file": (["in.png", "album/ok.png", "x.png"], "x.png is the name of a file"),
    "unknown suffix": (["in.png", "results.2024"], "expected one of .png .jpg .*end it with /"),
    "a file in the place": (["album", "file"], "file is a file, expected a folder"),
    "a file above": (["in.png", "file/x.png"], "file is a file, expected a folder"),
    "one file into a file": (["in.png", "file"], "file is a file, expected a folder"),
    "format and name": (["in.png", "x.jpg", "-f", "png"], "--format png and the name x.jpg differ"),
    "format of videos": (["album", "out", "-f", "mp4"], "--format mp4 is for videos"),
    "overlay of a folder": (["album", "out", "--overlay", "m.png"], "m.png is the name of a file"),
    "skip and overwrite": (["album", "out", "--skip-existing", "--overwrite"], "exclude each"),
    "empty input": (["", "x.png"], "found an empty one"),
    "empty output": (["in.png", ""], "found an empty one"),
    "empty -o": (["-i", "in.png", "-o", ""], "found an empty one"),
    "empty overlay": (["in.png", "x.png", "--overlay", ""], "found an empty one"),
    "empty json": (["in.png", "x.png", "--json", ""], "found an empty one"),
    "long input": (["y" * 300 + ".png", "x.png"], "File name too long"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_names(case: str, carn_like_bundle: Path) -> None:
    Path("file").write_text("precious")
    args, pattern = REFUSED[case]
    ended = upscale(carn_like_bundle, *args)
    assert_refused(ended, 2, pattern)
    assert made() == {"file"}


def test_a_long_output_says_why(carn_like_bundle: Path) -> None:
    assert_refused(
        upscale(carn_like_bundle, "in.png", "y" * 300 + ".png"), 1, "cannot .*File name too long"
    )


def test_a_folder_with_odd_entries(carn_like_bundle: Path) -> None:
    album = Path("album")
    for link, to in (("a", "b"), ("b", "a"), ("c.png", "d.png"), ("d.png", "c.png")):
        (album / link).symlink_to(to)
    (album / "gone.png").symlink_to("nowhere.png")
    os.mkfifo(album / "pipe.png")
    (album / "sub").mkdir()
    (album / "sub" / "up").symlink_to("..")
    for name in ("n.txt", "m.txt", ".pcsr-1234.png", ".hidden.txt", "noext"):
        (album / name).write_text("text")
    name = os.fsdecode(b"inv\xff.png")
    picture(album / name)
    ended = upscale(carn_like_bundle, "album", "out", "--recursive")
    assert ended.code == 1
    assert_clean(ended)
    assert made() >= {"out/ok.png", f"out/{name}"}
    errors = [line for line in ended.complaints if line.startswith("error: ")]
    assert [line.split(": ")[1] for line in errors] == [
        f"cannot read album/{bad}.png" for bad in ("c", "d", "gone", "pipe")
    ]
    said = "skipped 6 files of other kinds: 2 linked to nothing, 2 .txt, 1 without suffix, 1 linked"
    assert ended.complaints[-2].startswith(said)
    assert ended.complaints[-1].startswith("2 done, 4 failed in ")


def test_named_files_that_are_none_do_not_stop_the_others(carn_like_bundle: Path) -> None:
    Path("ok.txt").write_text("text")
    Path("loop").symlink_to("loop")
    Path("empty").mkdir()
    ended = upscale(carn_like_bundle, "ok.txt", "loop", "empty", "album/ok.png", "out")
    assert ended.code == 1
    assert_clean(ended)
    assert sum(line.startswith("error: ") for line in ended.complaints) == 3
    assert made() - {"ok.txt"} == {"out/ok.png"}


def test_formats_that_are_only_read_never_take_the_name_of_another(carn_like_bundle: Path) -> None:
    for name in ("album/a.gif", "album/ok.gif"):
        picture(Path(name))
    ended = upscale(carn_like_bundle, "album", "out", "--overlay", "maps")
    assert ended.code == 0, ended.stderr
    names = {"a.png", "ok.png", "ok.gif.png"}
    assert {path.name for path in Path("out").iterdir()} == names
    assert {path.name for path in Path("maps").iterdir()} == names


def test_maps_inside_the_folder_are_no_inputs(carn_like_bundle: Path) -> None:
    args = (carn_like_bundle, "album", "album/out", "--recursive", "--overlay", "album/maps")
    for _ in range(2):
        assert upscale(*args, "--overwrite").code == 0
    assert made() == {"album/out/ok.png", "album/maps/ok.png"}


def test_skip_existing(carn_like_bundle: Path) -> None:
    picture(Path("album/b.png"))
    Path("out").mkdir()
    Path("out/b.png").write_bytes(b"precious")
    ended = upscale(carn_like_bundle, "album", "out", "--skip-existing")
    assert ended.code == 0, ended.stderr
    assert "1 done, 0 failed, 1 skipped that were there in " in ended.complaints[-1]
    assert Path("out/b.png").read_bytes() == b"precious"
    maps = ("--skip-existing", "--overlay", "maps", "--json", "-")
    ended = upscale(carn_like_bundle, "album", "out", *maps)
    assert ended.code == 0, ended.stderr
    assert '"skipped"' not in ended.stdout, "their overlays were missing"
    assert Path("out/b.png").read_bytes() == b"precious"
    assert size_of(Path("maps/b.png")) == size_of(Path("out/ok.png"))
    ended = upscale(carn_like_bundle, "album", "out", *maps)
    assert ended.stdout.count('"skipped": true') == 2


def test_json_file(carn_like_bundle: Path) -> None:
    ended = upscale(carn_like_bundle, "in.png", "x.png", "--json", "x.jsonl")
    assert ended.code == 0
    assert Path("x.jsonl").read_text().startswith('{"input": "in.png", "output": "x.png"')
    ended = upscale(carn_like_bundle, "in.png", "y.png", "--json", "x.jsonl")
    assert_refused(ended, 1, "x.jsonl exists")
    assert not Path("y.png").exists()


def test_quiet_says_errors_alone(carn_like_bundle: Path) -> None:
    Path("album/n.txt").write_text("text")
    Path("album/bad.png").write_text("text")
    ended = upscale(carn_like_bundle, "album", "out", "-q")
    assert ended.code == 1
    assert [line.split(": ")[1] for line in ended.complaints] == ["cannot read album/bad.png"]
