"""What is measured in processes of its own."""

import sys
from pathlib import Path

import numpy as np
import pytest

from pcsr.errors import BackendError, ImageError
from pcsr.runtime.profiler.cases import Setup, Spec
from pcsr.runtime.profiler.measuring.ceilings import measure_ceilings
from pcsr.runtime.profiler.measuring.first_use import first_use
from pcsr.runtime.profiler.measuring.process import DidNotFinish, call_alone, read_answer
from pcsr.runtime.profiler.opened import OpenedBundle
from pcsr.runtime.profiler.pictures import InputImage

IMAGE = np.zeros((8, 9, 3), np.uint8)
OPENER = "pcsr.runtime.profiler.opened:open_caller"
FOREIGN = """
from pcsr.runtime.profiler.measuring.calls import Answer, Details
def echoing(threshold):
    return lambda image, options: Answer(image, lambda: Details(threshold=threshold))
"""


def test_the_first_use_of_a_bundle(carn_like_bundle: Path) -> None:
    held = np.ones((1024, 1024, 128), np.float32)  # 512 MiB here, which are not the child's
    found = first_use(OPENER, {"bundle": str(carn_like_bundle), "threads": 1}, IMAGE, {})
    assert found.open_ms is not None
    assert found.open_ms > 1
    assert found.first_ms > 0
    assert found.threshold == 0.5
    if found.loaded_mib is None or found.peak_mib is None:
        pytest.skip("this system does not say how much memory a process holds")
    assert 20 < found.loaded_mib <= found.peak_mib < held.nbytes / 2**20


def test_a_foreign_caller_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "foreign.py").write_text(FOREIGN)
    found = first_use("foreign:echoing", {"threshold": 0.25}, IMAGE, {}, folder=tmp_path)
    assert found.threshold == 0.25


def test_one_that_raises_and_one_that_takes_too_long(tmp_path: Path) -> None:
    arguments = {"bundle": str(tmp_path)}
    with pytest.raises(DidNotFinish, match=r"BundleError: .* is not a bundle"):
        first_use(OPENER, arguments, IMAGE, {})
    with pytest.raises(DidNotFinish, match="takes more than"):
        call_alone("time:sleep", {}, timeout_s=0.01)


def test_a_process_that_is_killed_or_fails() -> None:
    with pytest.raises(DidNotFinish, match="memory ran out"):
        read_answer(-9, "", "")
    with pytest.raises(DidNotFinish, match="SIGSEGV"):
        read_answer(-11, "", "")
    with pytest.raises(DidNotFinish, match="exit status 1: ImportError: no"):
        read_answer(1, "", "Traceback\nImportError: no\n")


def test_what_a_library_prints_is_no_answer(tmp_path: Path) -> None:
    (tmp_path / "loud.py").write_text("def made(n):\n    print('hello')\n    return [n, {}]\n")
    assert call_alone("loud:made", {"n": 7}, folder=tmp_path) == [7, {}]


def test_a_first_use_that_fails_is_one_line_of_its_case(
    carn_like_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = Setup(str(carn_like_bundle), threads=1)
    spec = Spec("a, 8x9", setup, "ADM", 4, InputImage("p", IMAGE))
    bundle = OpenedBundle(setup)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(ImageError, match=r"^a, 8x9: a call in a process of its own failed: exit"):
        bundle.first(spec)


def test_ceilings_are_measured() -> None:
    found = measure_ceilings(1, sizes=(64, 128), copy_bytes=2**20)
    assert found.gflop_s > 0.1
    assert found.gb_s > 0.1
    assert found.half_gflop_s is None


def test_ceilings_that_fail_say_so() -> None:
    with pytest.raises(BackendError, match="the ceilings of this machine cannot be measured"):
        measure_ceilings(1, sizes=(-1,))
