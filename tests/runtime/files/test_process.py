"""pcsr-upscale as a process: Ctrl-C, full disks, read-only folders, closed pipes."""

import ctypes
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.commands import Ended, assert_clean, assert_refused, end, snapshot, start

from .pictures import picture, size_of

SMALL_FILE = 4096  # bytes; less than any result below
BIG = (600, 900)
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="signals and limits of Linux")


def run(*args: object, before: Callable[[], None] | None = None) -> Ended:
    return end(start("pcsr-upscale", *args, preexec_fn=before))


def wait_for(condition: Callable[[], bool], timeout_s: float = 30) -> None:
    """Returns as soon as it holds."""
    limit = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < limit, "it never came"
        time.sleep(0.002)


def test_one_picture(carn_like_bundle: Path, tmp_path: Path) -> None:
    ended = run(carn_like_bundle, picture(tmp_path / "in.png"), tmp_path / "out.png")
    assert ended.code == 0
    assert_clean(ended)
    assert ended.stdout == ""
    assert len(ended.complaints) == 1


# Ctrl-C


def interrupted(process: subprocess.Popen[str]) -> Ended:
    process.send_signal(signal.SIGINT)
    ended = end(process)
    assert_clean(ended)
    assert ended.code == 130
    return ended


def test_interrupted_during_the_work(carn_like_bundle: Path, tmp_path: Path) -> None:
    sources = [picture(tmp_path / "a.png"), picture(tmp_path / "b.png", size=BIG)]
    process = start("pcsr-upscale", carn_like_bundle, *sources, tmp_path / "out")
    assert process.stderr
    assert "a.png" in process.stderr.readline(), "now it works at the other"
    time.sleep(0.1)
    ended = interrupted(process)
    assert ended.complaints == ["interrupted; nothing half-written was left behind"]
    assert list(snapshot(tmp_path / "out")) == ["a.png"]


def some_is_written(folder: Path) -> bool:
    """Whether a temporary file holds data already; encoders stream into it."""
    with suppress(FileNotFoundError):
        return any(path.stat().st_size > 2**16 for path in folder.glob(".*"))
    return False


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_interrupted_while_writing(suffix: str, carn_like_bundle: Path, tmp_path: Path) -> None:
    source, out = picture(tmp_path / "in.png", size=BIG), tmp_path / "out"
    out.mkdir()
    target = out / f"out{suffix}"
    target.write_text("precious")
    process = start("pcsr-upscale", carn_like_bundle, source, target, "--overwrite")
    wait_for(lambda: some_is_written(out))
    interrupted(process)
    assert snapshot(out) == {target.name: b"precious"}


def test_interrupted_before_the_first_image(carn_like_bundle: Path, tmp_path: Path) -> None:
    source = picture(tmp_path / "in.png", size=BIG)
    process = start("pcsr-upscale", carn_like_bundle, source, tmp_path / "out" / "out.png")
    wait_for((tmp_path / "out").is_dir)
    interrupted(process)
    assert snapshot(tmp_path / "out") == {}


# Disks and folders


def little_room() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL_FILE, SMALL_FILE))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tiff", ".webp"])
def test_full_disk(suffix: str, carn_like_bundle: Path, tmp_path: Path) -> None:
    source, out = picture(tmp_path / "in.png", size=(40, 60)), tmp_path / "out"
    out.mkdir()
    target = out / f"out{suffix}"
    target.write_text("precious")
    options = (target, "--overwrite", "--quality", 100)
    ended = run(carn_like_bundle, source, *options, before=little_room)
    assert_refused(ended, 1, f"cannot write .*out{suffix}: File too large")
    assert snapshot(out) == {target.name: b"precious"}


def test_full_disk_spares_what_still_fits(carn_like_bundle: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    for name, size in (("a.png", (4, 4)), ("b.png", (40, 60)), ("c.png", (4, 4))):
        picture(folder / name, size=size)
    ended = run(carn_like_bundle, folder, out, before=little_room)
    assert ended.code == 1
    assert_clean(ended)
    lines, summary = ended.complaints[:-1], ended.complaints[-1]
    assert [line.startswith("error: ") for line in lines] == [False, True, False]
    assert summary.startswith("2 done, 1 failed in ")
    assert list(snapshot(out)) == ["a.png", "c.png"]


def no_privileges() -> None:
    """Root may write into read-only folders; after this it may not."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None)
        for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
            libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)


def test_folder_that_cannot_be_written_to(carn_like_bundle: Path, tmp_path: Path) -> None:
    source, locked = picture(tmp_path / "in.png"), tmp_path / "locked"
    locked.mkdir(mode=0o555)
    for target in (locked / "out.png", locked / "sub" / "out.png"):
        ended = run(carn_like_bundle, source, target, before=no_privileges)
        assert_refused(ended, 1, "cannot (write|create) .*locked")
    assert snapshot(locked) == {}


def test_image_that_may_not_be_read(carn_like_bundle: Path, tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a.png").chmod(0)
    picture(tmp_path / "in" / "b.png")
    ended = run(carn_like_bundle, tmp_path / "in", tmp_path / "out", before=no_privileges)
    assert ended.code == 1
    assert_clean(ended)
    assert "error: cannot read" in ended.complaints[0]
    assert list(snapshot(tmp_path / "out")) == ["b.png"]


# Pipes


def test_reader_of_stdout_has_gone(carn_like_bundle: Path, tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    source, target = picture(tmp_path / "in.png"), tmp_path / "out.png"
    ended = end(
        start("pcsr-upscale", carn_like_bundle, source, target, "--json", "-", stdout=write)
    )
    os.close(write)
    assert_clean(ended)
    assert size_of(target) == (48, 80)


def test_stdout_that_is_full(carn_like_bundle: Path, tmp_path: Path) -> None:
    source, target = picture(tmp_path / "in.png"), tmp_path / "out.png"
    with open("/dev/full", "w") as full:
        ended = end(
            start("pcsr-upscale", carn_like_bundle, source, target, "--json", "-", stdout=full)
        )
    assert ended.code == 1
    assert_clean(ended)
    assert len(ended.complaints) == 1
    assert size_of(target) == (48, 80)


def test_no_bar_and_no_colours_outside_a_terminal(carn_like_bundle: Path, tmp_path: Path) -> None:
    sources = [picture(tmp_path / name) for name in ("a.png", "b.png")]
    ended = run(carn_like_bundle, *sources, tmp_path / "out", "--json", "-")
    assert ended.code == 0
    assert "\x1b" not in ended.stdout + ended.stderr
    assert "\r" not in ended.stderr
    assert ended.stderr == ""
    assert len(ended.stdout.splitlines()) == 2
