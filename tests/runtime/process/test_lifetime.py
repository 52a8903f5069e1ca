"""How long an Upscaler lives: forks, pickles, close, and memory that is given back."""

import copy
import gc
import pickle
import subprocess
import sys
import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pcsr import Result, Upscaler, UsageError

ROOT = Path(__file__).parents[3]
IMAGE = np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8)
BACKENDS = ["native", "onnxruntime", "torch"]
FORKED = """
import os, signal, sys, threading
import numpy as np
from pcsr import Upscaler
image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
upscaler = Upscaler(sys.argv[1], backend=sys.argv[2], threads=2)
expected = upscaler(image, adaptive=True).image.astype(int)
stop = threading.Event()
def call():
    while not stop.is_set():
        upscaler(image)
others = [threading.Thread(target=call, daemon=True) for _ in range(int(sys.argv[3]))]
for other in others:
    other.start()
for _ in range(3):
    child = os.fork()
    if child == 0:
        signal.alarm(180)  # of a busy machine, where OpenMP's threads wait for each other
        found = upscaler(image, adaptive=True).image
        assert abs(found - expected).max() <= (0 if sys.argv[2] != "torch" else 1)
        again = Upscaler(sys.argv[1], backend=sys.argv[2], threads=2)(image, adaptive=True)
        assert (again.image == found).all()
        sys.exit(7)  # as a worker of a service does, with all that Python does at its end
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 7, status
stop.set()
for other in others:
    other.join()
assert (upscaler(image, adaptive=True).image == expected).all()
print("done")
"""
PROCESSES = """
import multiprocessing, sys
import numpy as np
from pcsr import Upscaler
image = np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8)
def call(upscaler):
    return upscaler(image)
if __name__ == "__main__":
    upscaler = Upscaler(sys.argv[1], threads=1, k=0.5)
    expected = upscaler(image)
    with multiprocessing.get_context(sys.argv[2]).Pool(2) as pool:
        for result in pool.map(call, [upscaler] * 4):
            assert (result.image == expected.image).all()
            assert result.stats.pixels_per_upsampler == expected.stats.pixels_per_upsampler
    print("done")
"""
ROUNDS = """
import gc, sys
import numpy as np
from pcsr import Upscaler
from tests.memory import settled_mib
gc.disable()
image = np.zeros((300, 400, 3), np.uint8)
mib = []
for _ in range(12):
    upscaler = Upscaler(sys.argv[1], backend=sys.argv[2], threads=2)
    upscaler(image)
    del upscaler
    mib.append(settled_mib())
print(min(mib[2:6]), min(mib[-4:]))
"""
BAD_FORK = """
import sys, torch
torch.version.cuda = "12.0"
torch.cuda._is_in_bad_fork = lambda: True
from pcsr import BackendError, Upscaler
try:
    Upscaler(sys.argv[1], "cuda", backend="torch")
except BackendError as error:
    print(error)
"""


def run(script: str, *arguments: object) -> str:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("pcsr")}


@pytest.mark.parametrize("callers", [0, 2], ids=["quiet", "in calls"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_forked_child_opens_its_own(carn_like_bundle: Path, backend: str, callers: int) -> None:
    assert run(FORKED, carn_like_bundle, backend, callers) == "done\n"


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_processes_of_multiprocessing(carn_like_bundle: Path, tmp_path: Path, method: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(PROCESSES)
    command = [sys.executable, str(script), str(carn_like_bundle), method]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


def test_cuda_after_a_fork_is_one_clear_error(carn_like_bundle: Path) -> None:
    said = run(BAD_FORK, carn_like_bundle)
    assert "cannot be used in a process that was forked" in said
    assert "spawn" in said


@pytest.mark.parametrize("backend", BACKENDS)
def test_it_is_freed_with_its_last_name(carn_like_bundle: Path, backend: str) -> None:
    gc.disable()
    try:
        upscaler = Upscaler(carn_like_bundle, backend=backend, adaptive=True)
        upscaler(IMAGE)
        with upscaler._open.used() as now:
            gone: list[Any] = [weakref.ref(upscaler), weakref.ref(now.executor)]
        del upscaler, now
        assert [one() for one in gone] == [None, None]
    finally:
        gc.enable()


@pytest.mark.parametrize("backend", ["native", "onnxruntime"])
def test_rounds_of_open_call_and_delete_stay_flat(carn_like_bundle: Path, backend: str) -> None:
    """They would grow by 70 MiB if a bundle was kept per round."""
    first, last = map(float, run(ROUNDS, carn_like_bundle, backend).split())
    assert last - first < 40


@pytest.mark.parametrize("backend", BACKENDS)
def test_close_ends_threads_and_refuses_calls(carn_like_bundle: Path, backend: str) -> None:
    before = threads()
    with Upscaler(carn_like_bundle, backend=backend, threads=2) as upscaler:
        upscaler(IMAGE)
        with upscaler._open.used() as now:
            executor = weakref.ref(now.executor)
        del now
    assert threads() <= before
    assert executor() is None
    upscaler.close()
    calls: list[Any] = [
        lambda: upscaler(IMAGE),
        lambda: upscaler.stream(IMAGE, print),
        lambda: upscaler.warmup((4, 4)),
        lambda: upscaler.passes,
        lambda: upscaler.completed(2, None),  # type: ignore[arg-type]
    ]
    for call in calls:
        with pytest.raises(UsageError, match="this Upscaler is closed; open the bundle again"):
            call()
    assert "closed" in repr(upscaler)
    assert upscaler.scale == 4


def test_close_waits_for_nobody_and_breaks_no_call(carn_like_bundle: Path) -> None:
    upscaler = Upscaler(carn_like_bundle, threads=2)
    expected = upscaler(IMAGE).image
    parts: list[Any] = []

    def take(rows: Any) -> None:  # noqa: ANN401
        upscaler.close()
        parts.append(rows)

    upscaler.stream(IMAGE, take)
    assert np.array_equal(np.concatenate(parts), expected)
    with pytest.raises(UsageError, match="closed"):
        upscaler(IMAGE)


def test_it_is_pickled_and_copied_by_its_arguments(
    carn_like_bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(carn_like_bundle.parent)
    upscaler = Upscaler(carn_like_bundle.name, backend="onnxruntime", threads=1, heavy_ratio=0.3)
    expected = upscaler(IMAGE)
    pickled = pickle.dumps(upscaler)
    assert len(pickled) < 2000
    monkeypatch.chdir(tmp_path)
    for other in (pickle.loads(pickled), copy.deepcopy(upscaler), copy.copy(upscaler)):
        assert other is not upscaler
        assert other.backend == "onnxruntime"
        assert np.array_equal(other(IMAGE).image, expected.image)
        assert other(IMAGE).stats.pixels_per_upsampler == expected.stats.pixels_per_upsampler


def test_a_result_is_pickled_with_its_figures(carn_like_bundle: Path) -> None:
    upscaler = Upscaler(carn_like_bundle, threads=1)
    result = upscaler(IMAGE)
    late = Result(result.image, None, None, lambda: result.stats)
    for given in (result, late):
        for other in (pickle.loads(pickle.dumps(given)), copy.deepcopy(given)):
            assert np.array_equal(other.image, given.image)
            assert other.stats == result.stats
            assert other.upsamplers == given.upsamplers
