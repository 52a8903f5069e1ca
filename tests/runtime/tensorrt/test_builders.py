"""Several builders, and builders that are stopped: as processes."""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen

import pytest

from pcsr import Bundle
from pcsr.runtime.tensorrt.plans import engines_folder, kept_folders, read_plans
from pcsr.runtime.tensorrt.store import one_builder
from tests.commands import Ended, assert_clean, end, start

OPTIONS = ("--max-shape", "16x16")


@contextmanager
def builder(bundle: Bundle, *options: str) -> Iterator["Popen[str]"]:
    process = start("pcsr-build", bundle.path, *OPTIONS, *options)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def read_until(process: "Popen[str]", word: str) -> str:
    """What it prints on stderr up to the line with this word."""
    assert process.stderr is not None
    seen = ""
    for line in process.stderr:
        seen += line
        if word in line:
            return seen
    raise AssertionError(f"{word!r} is not in {seen!r}")


def test_the_second_waits_and_takes_what_the_first_built(carn: Bundle) -> None:
    with builder(carn) as first:
        read_until(first, "1/4 backbone …")
        first.send_signal(signal.SIGSTOP)  # so that it cannot be done before the second has come
        with builder(carn) as second:
            said = read_until(second, "another process builds")
            first.send_signal(signal.SIGCONT)
            ended = end(first), end(second)
    assert [one.code for one in ended] == [0, 0]
    assert "4/4 upsampler_1: " in ended[0].stderr
    assert "1/4" not in said + ended[1].stderr, "the second has built too"
    assert ended[0].stdout == ended[1].stdout
    (folder,) = kept_folders(carn)
    assert len(read_plans(folder).plans) == 4


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_interrupted_while_building(carn: Bundle, number: signal.Signals) -> None:
    with builder(carn) as process:
        read_until(process, "2/4 classifier …")
        process.send_signal(number)
        ended = end(process)
    assert ended.code == 130
    assert ended.complaints[-1].startswith("interrupted")
    assert "4/4" not in ended.stderr
    assert_clean(ended)
    assert os.listdir(engines_folder(carn)) == [".lock"]
    assert built_now(carn).code == 0


def test_killed_while_building(carn: Bundle) -> None:
    with builder(carn) as process:
        read_until(process, "2/4 classifier …")
        process.kill()
        process.wait()
    assert list(kept_folders(carn)) == []
    assert built_now(carn).code == 0, "the lock is free again"


def test_interrupted_while_waiting(plain: Bundle) -> None:
    engines_folder(plain).mkdir()
    with one_builder(engines_folder(plain), lambda text: None), builder(plain) as process:
        read_until(process, "another process builds")
        process.send_signal(signal.SIGINT)
        assert end(process).code == 130


def test_a_replaced_folder_is_locked_anew(tmp_path: Path) -> None:
    """An export replaces the bundle, and with it the file that was locked."""
    folder = tmp_path / "engines"

    def lock_too() -> None:
        with one_builder(folder, lambda text: None):
            assert (folder / ".lock").exists()

    with one_builder(folder, lambda text: None), ThreadPoolExecutor(1) as other:
        folder.rename(tmp_path / "old")
        other.submit(lock_too).result(timeout=5)


def built_now(bundle: Bundle) -> Ended:
    with builder(bundle) as process:
        return end(process)
