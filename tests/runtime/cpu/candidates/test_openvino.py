"""The runner in OpenVINO: near to fp32, the same for any threads and tiles, and at home with forks,
cancelled calls and threads.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from pcsr import BackendError, Bundle, BundleError, Cancellation, CancelledError, ImageError
from pcsr.runtime.cpu.candidates import openvino as module
from pcsr.runtime.cpu.candidates.openvino import OpenVinoRunner
from pcsr.runtime.cpu.onnxruntime import OnnxRuntimeRunner
from pcsr.runtime.cpu.pipeline import FloatArray, Runner
from tests import checkpoints
from tests.exports import Exports
from tests.runtime.cpu.bf16 import has_bf16, has_openvino

FORKED = """
import os, signal, sys
import numpy as np
from pcsr import Upscaler, BackendError
from pcsr.runtime.cpu.candidates import choice
all_of = choice.candidates_of
choice.candidates_of = lambda *given: {choice.OPENVINO: all_of(*given)[choice.OPENVINO]}
image = np.zeros((12, 9, 3), np.uint8)
upscaler = Upscaler(sys.argv[1], precision="bf16")
assert "OpenVINO" in upscaler.choices[0]
expected = upscaler(image).image
child = os.fork()
if child == 0:
    signal.alarm(60)
    try:
        upscaler(image)
    except BackendError as error:
        print(error, flush=True)
        sys.exit(7)  # as a worker of a service does, with all that Python does at its end
    sys.exit(8)
_, status = os.waitpid(child, 0)
assert os.waitstatus_to_exitcode(status) == 7, status
assert (upscaler(image).image == expected).all()
"""
QUIET = """
import sys
from pcsr.runtime.cpu.candidates.openvino import openvino
openvino().Core()
assert openvino().convert_model
assert not [name for name in sys.modules if name.startswith("openvino_telemetry")]
"""


def noise(*size: int) -> FloatArray:
    return np.random.default_rng(size).random((1, 3, *size), dtype=np.float32)


def run(runner: Runner, bundle: Bundle, image: FloatArray) -> FloatArray:
    (found,) = runner.run_image(bundle.image_role, image, (bundle.image_output,))
    return found


@pytest.fixture(params=["carn_like_bundle", "single_bundle", "three_way_bundle", "carn"])
def bundle(request: pytest.FixtureRequest, exports: Exports) -> Bundle:
    """Tiny backbones: CARN (grouped convolutions), SRResNet and FSRCNN; and a plain CARN."""
    if request.param == "carn":
        return Bundle.load(exports.of(checkpoints.plain_checkpoint("carn")))
    return Bundle.load(request.getfixturevalue(request.param))


@has_openvino
def test_it_is_near_to_fp32_and_not_fp32(bundle: Bundle) -> None:
    image = noise(37, 29)
    exact = run(OnnxRuntimeRunner(bundle, "fp32", 1, [bundle.image_role]), bundle, image)
    found = run(OpenVinoRunner(bundle, 1), bundle, image)
    assert (found.shape, found.dtype) == (exact.shape, exact.dtype)
    gap = np.sqrt(np.square(found - exact).mean() / np.square(exact).mean())
    assert 1e-4 < gap < 2e-2


@has_openvino
def test_threads_and_tiles_do_not_change_it(bundle: Bundle) -> None:
    one, two = OpenVinoRunner(bundle, 1), OpenVinoRunner(bundle, 2)
    assert one.cuts_exactly
    radius = bundle.manifest.model.receptive_radius_px
    assert radius is not None
    scale = 4 if bundle.kind == "plain" else 1
    random = np.random.default_rng(0)
    for _ in range(12):
        height, width = (int(n) for n in random.integers(1, 90, 2))
        image = noise(height, width)
        whole = run(two, bundle, image)
        top, left = int(random.integers(height)), int(random.integers(width))
        bottom = int(random.integers(top, height)) + 1
        right = int(random.integers(left, width)) + 1
        first, side = max(0, top - radius), max(0, left - radius)
        crop = image[:, :, first : bottom + radius, side : right + radius]
        tile = run(one, bundle, np.ascontiguousarray(crop))
        rows = slice(scale * (top - first), scale * (bottom - first))
        columns = slice(scale * (left - side), scale * (right - side))
        expected = whole[:, :, scale * top : scale * bottom, scale * left : scale * right]
        assert np.array_equal(tile[:, :, rows, columns], expected), (image.shape, crop.shape)


@has_openvino
def test_a_deconvolution_promises_nothing(plain_bundle: Path) -> None:
    assert not OpenVinoRunner(Bundle.load(plain_bundle), 2).cuts_exactly


@has_openvino
def test_results_stay_while_others_are_computed(bundle: Bundle) -> None:
    runner = OpenVinoRunner(bundle, 1)
    images = [noise(20 + 3 * (i % 4), 30) for i in range(8)]
    expected = [run(runner, bundle, image).copy() for image in images]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda image: run(runner, bundle, image)[0], images))
    for one, other in zip(found, expected, strict=True):
        assert np.array_equal(one, other[0])


@has_openvino
def test_memory_of_results_is_used_again(bundle: Bundle) -> None:
    runner, image = OpenVinoRunner(bundle, 1), noise(20, 30)
    first = run(runner, bundle, image)
    address = first.ctypes.data
    part = first[0, 0]
    del first
    assert run(runner, bundle, image).ctypes.data != address  # a part of it is still held
    del part
    addresses = {run(runner, bundle, image).ctypes.data for _ in range(6)}
    assert len(addresses) <= module.KEPT_REQUESTS


@has_openvino
def test_a_cancelled_run_ends_and_the_next_is_whole(carn_like_bundle: Path) -> None:
    bundle = Bundle.load(carn_like_bundle)
    runner, image = OpenVinoRunner(bundle, 1), noise(600, 800)
    expected = run(runner, bundle, image).copy()
    names = (bundle.image_output,)
    for delay_s in (0.0, 0.001, 0.01):
        cancellation = Cancellation()
        timer = threading.Timer(delay_s, cancellation.cancel)
        timer.start()
        with pytest.raises(CancelledError):
            [runner.run_image("backbone", image, names, cancellation) for _ in range(1000)]
        timer.join()
        assert np.array_equal(run(runner, bundle, image), expected)


@has_openvino
def test_what_ended_in_the_middle_is_not_run_again(carn_like_bundle: Path) -> None:
    # Some layers keep the size of the cancelled image: in CARN each later call failed.
    bundle = Bundle.load(carn_like_bundle)
    runner, small, large = OpenVinoRunner(bundle, 2), noise(15, 20), noise(600, 800)
    expected = run(runner, bundle, small).copy()
    cancelled = runner._compiled
    names, cancellation = (bundle.image_output,), Cancellation(timeout_s=0.01)
    with pytest.raises(CancelledError):
        [runner.run_image("backbone", large, names, cancellation) for _ in range(1000)]
    assert np.array_equal(run(runner, bundle, small), expected)
    assert runner._compiled is not cancelled


@has_openvino
def test_who_waits_for_another_call_can_be_cancelled(carn_like_bundle: Path) -> None:
    bundle = Bundle.load(carn_like_bundle)
    runner = OpenVinoRunner(bundle, 1)
    with runner._turn, pytest.raises(CancelledError, match="deadline"):
        runner.run_image("backbone", noise(8, 8), ("features",), Cancellation(timeout_s=0.05))


@has_openvino
def test_what_openvino_refuses_is_one_line(
    carn_like_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_data: bytes) -> None:
        raise RuntimeError("Exception from src/core.cpp:1:\nCheck 'x' failed at y.cpp:2:\nno Foo\n")

    core = type("Core", (), {"read_model": staticmethod(refuse)})
    monkeypatch.setattr(module, "_core", core)
    with pytest.raises(BundleError, match=r"OpenVINO refuses the backbone graph: no Foo$"):
        OpenVinoRunner(Bundle.load(carn_like_bundle), 1)


@has_openvino
def test_what_fails_in_a_run_is_one_line(carn_like_bundle: Path) -> None:
    runner = OpenVinoRunner(Bundle.load(carn_like_bundle), 1)
    with pytest.raises(ImageError, match=r"^OpenVINO fails in the backbone graph[^\n]*$"):
        runner.run_image("backbone", np.zeros((1, 4, 8, 8), np.float32), ("features",))


@has_openvino
@pytest.mark.parametrize(
    "ask",
    [
        lambda runner: runner.run_rows("classifier", {}),
        lambda runner: runner.run_image("backbone", noise(8, 8), ("classifier_features",)),
    ],
)
def test_it_runs_the_image_graph_alone(
    ask: Callable[[Runner], object], carn_like_bundle: Path
) -> None:
    with pytest.raises(BackendError, match="alone, not"):
        ask(OpenVinoRunner(Bundle.load(carn_like_bundle), 1))


@has_bf16
def test_without_the_package(carn_like_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.setattr(module, "_loaded", {})
    with pytest.raises(BackendError, match=r"openvino is not installed; run pip install 'pcsr"):
        OpenVinoRunner(Bundle.load(carn_like_bundle), 1)


@has_openvino
def test_its_telemetry_is_not_loaded(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-c", QUIET],
        env={**os.environ, "HOME": str(tmp_path)},
        check=True,
        timeout=60,
    )
    assert list(tmp_path.rglob("*")) == []


@has_openvino
def test_a_forked_child_says_that_it_cannot(carn_passed: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKED, str(carn_passed)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    (line,) = done.stdout.splitlines()
    assert "OpenVINO does not run in a process that was forked from one that runs it" in line
