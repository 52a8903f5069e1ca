"""`-` is standard input or output."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import NOISE
from tests.runtime.files.pictures import picture

COMMAND = [sys.executable, "-c", "from pcsr.runtime.files.cli import main; main()"]


def run(*args: object, **options: object) -> "subprocess.CompletedProcess[bytes]":
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    if "input" not in options:
        pipes["stdin"] = subprocess.DEVNULL
    ended = subprocess.run([*COMMAND, *map(str, args)], timeout=60, **(pipes | options))  # type: ignore[call-overload]
    assert not [word for word in NOISE if word.encode() in ended.stderr]
    return ended  # type: ignore[no-any-return]


def test_in_and_out_and_both(carn_like_bundle: Path, tmp_path: Path) -> None:
    source, target = picture(tmp_path / "in.png"), tmp_path / "out.png"
    assert run(carn_like_bundle, source, target).returncode == 0
    expected, given = target.read_bytes(), source.read_bytes()
    assert run(carn_like_bundle, source, "-").stdout == expected
    assert run(carn_like_bundle, "-", "-", input=given).stdout == expected
    ended = run(carn_like_bundle, "-", tmp_path / "o.png", "--json", "-", input=given)
    assert (tmp_path / "o.png").read_bytes() == expected
    assert ended.stdout.startswith(b'{"input": "-", ')
    jpeg = run(carn_like_bundle, "-", "-", "-f", "jpg", input=given)
    assert jpeg.stdout.startswith(b"\xff\xd8\xff")
    assert jpeg.stderr.startswith(b"-: 80x48")


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["-", "o.png"], 1, b"cannot read standard input: .*an empty file"),
        (["-", "in.png", "out"], 2, b"- is one image"),
        (["-", "."], 2, b"what - becomes needs a name"),
        (["in.png", "-", "--json", "-"], 2, b"both standard output"),
    ],
)
def test_refused(
    args: list[str], code: int, said: bytes, carn_like_bundle: Path, tmp_path: Path
) -> None:
    picture(tmp_path / "in.png")
    ended = run(carn_like_bundle, *args, cwd=tmp_path)
    assert ended.returncode == code
    assert len(ended.stderr.splitlines()) == 1
    assert all(part in ended.stderr for part in said.split(b".*"))
    assert os.listdir(tmp_path) == ["in.png"]


def test_a_terminal_gets_no_image(carn_like_bundle: Path, tmp_path: Path) -> None:
    leader, follower = pty.openpty()
    ended = run(carn_like_bundle, picture(tmp_path / "in.png"), "-", stdout=follower)
    os.close(leader)
    os.close(follower)
    assert ended.returncode == 2
    assert b"standard output is a terminal" in ended.stderr


def test_the_reader_has_gone(carn_like_bundle: Path, tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    ended = run(carn_like_bundle, picture(tmp_path / "in.png"), "-", stdout=write)
    os.close(write)
    assert b"error" not in ended.stderr.lower()
