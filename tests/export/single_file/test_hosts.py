"""The hosts that graphs of one file are for run them, and compute what ONNX Runtime computes."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pcsr.export.single_file.graph import Baked
from tests.hosts.inside import python_of

from .made import Case, Floats, as_batch, by_onnxruntime, by_runtime

HOST = 2e-5  # OpenCV sums convolutions in another order: 6e-6 at worst
SPARSE, ADAPTIVE, DENSE = Baked(4), Baked(4, None), Baked(4, None, form="dense")

# Small and large, one after the other: hosts keep the shapes of the call before.
SIZES = [(13, 17), (1, 1), (24, 40)]
VSORT = """
import sys
import numpy as np
import vapoursynth as vs

image = np.load(sys.argv[2])
blank = vs.core.std.BlankClip(
    format=vs.RGBS, width=image.shape[1], height=image.shape[0], length=1
)

def filled(n, f):
    frame = f.copy()
    for plane in range(3):
        np.copyto(np.asarray(frame[plane]), image[..., plane])
    return frame

clip = vs.core.std.ModifyFrame(blank, blank, filled)
frame = vs.core.ort.Model(clip, network_path=sys.argv[1]).get_frame(0)
np.save(sys.argv[3], np.stack([np.asarray(frame[plane]) for plane in range(3)], axis=-1))
"""


def opened_by_opencv(case: Case, folder: Path, engine: str = "ENGINE_AUTO") -> tuple[Any, bytes]:
    cv2 = pytest.importorskip("cv2", reason="opencv-python-headless is not installed")
    if int(cv2.__version__.partition(".")[0]) < 5:
        pytest.skip(f"needs OpenCV 5, found {cv2.__version__}")
    graph = case.graph()
    (folder / "graph.onnx").write_bytes(graph)
    return cv2.dnn.readNetFromONNX(str(folder / "graph.onnx"), getattr(cv2.dnn, engine)), graph


@pytest.mark.parametrize("baked", [SPARSE, ADAPTIVE, DENSE, Baked(2.5), Baked(2, 1e6)], ids=str)
@pytest.mark.parametrize("engine", ["ENGINE_NEW", "ENGINE_AUTO"])
def test_opencv(carn_like_bundle: Path, baked: Baked, engine: str, tmp_path: Path) -> None:
    network, graph = opened_by_opencv(Case(carn_like_bundle, baked, SIZES[0]), tmp_path, engine)
    for size in SIZES:
        image = Case(carn_like_bundle, baked, size).image
        network.setInput(as_batch(image))
        found = network.forward()[0].transpose(1, 2, 0)
        assert np.abs(found - by_onnxruntime(graph, image)).max() <= HOST


@pytest.mark.parametrize("baked", [DENSE, Baked(4, form="dense")], ids=str)
def test_opencv_takes_any_images_through_one_dense_net(
    carn_like_bundle: Path, baked: Baked, tmp_path: Path
) -> None:
    """Of one size, with other shares of heavy pixels, which the sparse form does not survive."""
    network, graph = opened_by_opencv(Case(carn_like_bundle, baked, SIZES[0]), tmp_path)
    draw = np.random.default_rng(0)
    shares = set()
    for level in (0.0, 0.02, 0.2, 1.0, 0.1):
        image = 0.5 + level * (draw.random((16, 20, 3), dtype=np.float32) - 0.5)
        network.setInput(as_batch(image))
        found = network.forward()[0].transpose(1, 2, 0)
        assert np.abs(found - by_onnxruntime(graph, image)).max() <= HOST
        shares.add(by_runtime(carn_like_bundle, baked, image).stats.heavy_share)
    assert len(shares) > 2


@pytest.mark.parametrize("baked", [SPARSE, ADAPTIVE, DENSE], ids=str)
def test_vsort(carn_like_bundle: Path, baked: Baked, tmp_path: Path) -> None:
    python = python_of("vapoursynth", "VapourSynth in Python 3.12")
    case = Case(carn_like_bundle, baked, (37, 53))
    graph, source, target = (tmp_path / name for name in ("graph.onnx", "in.npy", "out.npy"))
    graph.write_bytes(case.graph())
    np.save(source, case.image)
    command = [str(python), "-c", VSORT, *map(str, (graph, source, target))]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stderr
    found: Floats = np.load(target)
    assert np.abs(found - by_onnxruntime(case.graph(), case.image)).max() <= HOST


@pytest.mark.parametrize("baked", [Baked(2, form="dense"), Baked(2, None, form="dense")], ids=str)
@pytest.mark.parametrize("name", ["carn_like_bundle", "three_way_bundle"])
def test_tensorrt_rtx_builds_the_dense_form(
    name: str, baked: Baked, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a GPU: an engine is built, and not run."""
    pytest.importorskip(
        "tensorrt_rtx", reason="TensorRT-RTX is not installed", exc_type=ImportError
    )
    from pcsr.runtime.tensorrt.build import BuildOptions, build_plan
    from pcsr.runtime.tensorrt.library import load_library
    from pcsr.runtime.tensorrt.profiles import ShapeProfile
    from pcsr.runtime.tensorrt.target import PORTABLE, Target

    monkeypatch.setitem(sys.modules, "tensorrt", None)
    load_library.cache_clear()
    graph = Case(request.getfixturevalue(name), baked, SIZES[0]).graph()
    sizes, target = ShapeProfile((1, 1), (24, 40), (64, 64)), Target(PORTABLE, ())
    plan = build_plan(load_library(), graph, "network", sizes, BuildOptions(), target)
    load_library.cache_clear()
    assert len(plan) > 1000
