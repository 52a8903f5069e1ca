"""Jobs whose workers or drivers are killed: nothing that was done is lost, nothing half-written."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen

import pytest

from tests.commands import assert_clean, end, start, upscale
from tests.runtime.files.pictures import picture

from .conftest import workers
from .test_jobs import on_ray, results, rows

SLOW = (600, 600)  # takes a good part of a second


def wait_for(condition: Callable[[], object], timeout_s: float = 60) -> None:
    """Returns as soon as it holds."""
    limit = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < limit, "it never came"
        time.sleep(0.02)


def driver(cluster: str, *args: object) -> Popen[str]:
    return start("pcsr-upscale", *args, "--engine", f"ray={cluster}", "--threads", 1)


def slow_pictures(folder: Path, count: int) -> Path:
    for number in range(count):
        picture(folder / f"{number:02}.png", size=SLOW, seed=number)
    return folder


def hidden(folder: Path) -> list[Path]:
    """Temporary files."""
    return list(folder.rglob(".pcsr-*"))


def test_a_killed_worker_loses_nothing(
    cluster: str, carn_like_bundle: Path, tmp_path: Path
) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    for number in range(30):
        picture(source / f"{number:02}.png", seed=number)
    picture(source / "once-kills.png")
    ended = on_ray(carn_like_bundle, source, out)
    assert ended.code == 0, ended.stderr
    assert (source / "once.txt").exists()  # it was killed
    assert upscale(carn_like_bundle, source, tmp_path / "one").code == 0
    assert results(out) == results(tmp_path / "one")
    assert rows(out)["once-kills.png"]["attempts"] == 2
    assert sum(row["attempts"] for row in rows(out).values()) < 62  # others were not begun again


def test_an_image_that_always_kills_its_worker_is_given_up(
    cluster: str, carn_like_bundle: Path, tmp_path: Path
) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    for name in ("a.png", "always-kills.png", "z.png"):
        picture(source / name)
    ended = on_ray(carn_like_bundle, source, out)
    assert ended.code == 1
    assert "killed its worker 3 times" in ended.stderr
    found = rows(out)
    assert "killed its worker 3 times" in found["always-kills.png"]["error"]
    assert found["always-kills.png"]["attempts"] == 3
    assert set(results(out)) == {"a.png", "z.png"}


def test_workers_killed_from_outside(cluster: str, carn_like_bundle: Path, tmp_path: Path) -> None:
    source, out = slow_pictures(tmp_path / "in", 8), tmp_path / "out"
    process = driver(cluster, carn_like_bundle, source, out)
    wait_for(lambda: len(list(out.glob("*.png"))) >= 2)
    killed = workers()
    assert killed
    for worker in killed:
        os.kill(worker, signal.SIGKILL)
    ended = end(process, 90)
    assert ended.code == 0, ended.stderr
    assert_clean(ended)
    assert len(results(out)) == len(rows(out)) == 8
    assert any(row["attempts"] > 1 for row in rows(out).values())
    assert hidden(out) == []


def test_a_killed_driver_runs_again_and_does_the_rest(
    cluster: str, carn_like_bundle: Path, tmp_path: Path
) -> None:
    source, out = slow_pictures(tmp_path / "in", 10), tmp_path / "out"
    process = driver(cluster, carn_like_bundle, source, out)
    wait_for(lambda: len(list(out.glob("_pcsr/parts/*.parquet"))) >= 2)
    process.kill()
    end(process)
    wait_for(lambda: not workers())
    done = {name: (out / name).stat() for name, row in rows(out).items() if row["error"] is None}
    assert 2 <= len(done) < 10
    assert len(list(out.glob("*.png"))) - len(done) <= 4  # written in the last half second
    time.sleep(2.1)  # then what was left half-written is old enough to be removed
    ended = on_ray(carn_like_bundle, source, out)
    assert ended.code == 0, ended.stderr
    for name, before in done.items():
        after = (out / name).stat()
        assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
        assert rows(out)[name]["attempts"] == 1
    assert len(results(out)) == len(rows(out)) == 10
    assert hidden(out) == []
    assert not list((out / "_pcsr").glob("*/*"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt(
    cluster: str, carn_like_bundle: Path, tmp_path: Path, number: signal.Signals
) -> None:
    source, out = slow_pictures(tmp_path / "in", 8), tmp_path / "out"
    process = driver(cluster, carn_like_bundle, source, out)
    wait_for(lambda: list(out.glob("_pcsr/parts/*.parquet")))
    process.send_signal(number)
    ended = end(process)
    assert_clean(ended)
    assert ended.code == 130
    assert "nothing half-written was left behind" in ended.stderr
    assert hidden(out) == []
    done = [name for name, row in rows(out).items() if row["error"] is None]
    assert 1 <= len(done) < 8
    wait_for(lambda: not workers())


def test_a_cluster_of_its_own_ends_with_the_command(carn_like_bundle: Path, tmp_path: Path) -> None:
    source, out = slow_pictures(tmp_path / "in", 6), tmp_path / "out"
    process = start("pcsr-upscale", carn_like_bundle, source, out, "--engine", "ray")
    wait_for(lambda: list(out.glob("*.png")))
    process.send_signal(signal.SIGINT)
    ended = end(process)
    assert_clean(ended)
    assert (ended.code, ended.stdout) == (130, "")
    assert hidden(out) == []
    wait_for(lambda: not _mentions(str(process.pid)))


def _mentions(text: str) -> bool:
    """Tests whether the session of a driver, whose name ends with its process id, has processes."""
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if f"_{text}/" in file.read_text(errors="replace"):
                return True
        except OSError:
            continue
    return False
