"""Stage times of whole calls: they add up to the wall time, and each is that of its own stage."""

import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pcsr import Upscaler
from pcsr.runtime.cpu import graph_pipeline, native_pipeline
from pcsr.runtime.cpu.composing import finishing
from pcsr.runtime.cpu.onnxruntime import OnnxRuntimeRunner
from pcsr.runtime.cpu.passes import PixelPasses
from pcsr.runtime.cpu.statistics import Statistics
from pcsr.runtime.gpu import row_graph_passes
from pcsr.runtime.gpu.frame import Frame
from pcsr.runtime.gpu.frame_result import FrameResult
from pcsr.runtime.gpu.runners.torch import TorchRunner
from pcsr.runtime.layout import Layout
from pcsr.runtime.timing import recorded_spans

from .networks import Scene

SLEEP_MS = 150
ATTEMPTS = 6  # at a quiet moment: other processes take time from between the stages, too
LEAST_SUM, LEAST_TOTAL = 0.95, 0.98
WIDE_AND_NARROW = {"classifier": (), "upsampler_0": (74, 64, 13), "upsampler_1": (5,)}


def _picture(size: tuple[int, int]) -> Any:  # noqa: ANN401
    return np.random.default_rng(5).integers(0, 256, (*size, 3), dtype=np.uint8)


KINDS: dict[str, Callable[[Any], Any]] = {
    "RGB": lambda image: image,
    "gray": lambda image: image[..., 0],
    "RGBA": lambda image: np.dstack([image, image[..., 0]]),
    "float32": lambda image: image.astype(np.float32) / 255,
}


CALLS: list[tuple[str, dict[str, Any]]] = [("RGB", {}), ("RGB", {"heavy_ratio": 0.3})]
CALLS += [(kind, {"adaptive": True}) for kind in KINDS]


@pytest.mark.parametrize(("kind", "options"), CALLS)
@pytest.mark.parametrize("backend", ["native", "onnxruntime", "torch"])
def test_stages_add_up_to_the_wall_time(
    backend: str, kind: str, options: dict[str, Any], carn_like_bundle: Path
) -> None:
    upscaler = Upscaler(carn_like_bundle, backend=backend)
    image = KINDS[kind](_picture((100, 100)))
    found = []
    for _ in range(ATTEMPTS):
        start = time.perf_counter()
        stats = upscaler(image, **options).stats
        wall_ms = 1000 * (time.perf_counter() - start)
        assert stats.total_ms <= wall_ms
        assert sum(stats.stage_ms.values()) <= stats.total_ms
        found.append((sum(stats.stage_ms.values()) / stats.total_ms, stats.total_ms / wall_ms))
        if found[-1][0] >= LEAST_SUM and found[-1][1] >= LEAST_TOTAL:
            return
    pytest.fail(f"sum / total and total / wall: {found}")


class Sleep:
    """Replaces a function of a class or module by one that sleeps first, once per `armed`."""

    def __init__(self, owner: Any, name: str, role: str | None = None) -> None:  # noqa: ANN401
        self.owner, self.name, self.role, self.armed = owner, name, role, False

    def plant(self, patch: pytest.MonkeyPatch) -> None:
        original = getattr(self.owner, self.name)

        def slow(*args: Any, **options: Any) -> Any:  # noqa: ANN401
            if self.armed and self.role in (None, *(a for a in args if isinstance(a, str))):
                self.armed = False
                time.sleep(SLEEP_MS / 1000)
            return original(*args, **options)

        patch.setattr(self.owner, self.name, slow)


def _planted(backend: str) -> dict[str, Sleep]:
    if backend == "native":
        return {
            "prepare": Sleep(Layout, "to_network"),
            "backbone": Sleep(OnnxRuntimeRunner, "run_image"),
            "classifier": Sleep(PixelPasses, "logits"),
            "routing": Sleep(Statistics, "add"),
            "compose": Sleep(PixelPasses, "fill"),
            "refinement": Sleep(finishing, "finish"),
        }
    if backend == "onnxruntime":
        roles = ("classifier", "upsampler_0", "upsampler_1")
        return {role: Sleep(OnnxRuntimeRunner, "run_rows", role) for role in roles} | {
            "prepare": Sleep(Layout, "to_network"),
            "backbone": Sleep(OnnxRuntimeRunner, "run_image"),
            "routing": Sleep(graph_pipeline, "route"),
            "compose": Sleep(graph_pipeline, "add_bilinear"),
            "refinement": Sleep(graph_pipeline, "refine_rows"),
        }
    roles = ("classifier", "upsampler_0", "upsampler_1")
    return {role: Sleep(TorchRunner, "rows", role) for role in roles} | {
        "prepare": Sleep(Frame, "set_request"),
        "backbone": Sleep(TorchRunner, "image"),
        "routing": Sleep(row_graph_passes.RowGraphPasses, "route"),
        "compose": Sleep(row_graph_passes, "bilinear"),
        "refinement": Sleep(row_graph_passes.RowGraphPasses, "finish"),
        "copy": Sleep(FrameResult, "of"),
        "download": Sleep(FrameResult, "downloaded"),
    }


PLANTED = [
    (backend, stage)
    for backend in ("native", "onnxruntime", "torch")
    for stage in _planted(backend)
]


@pytest.mark.parametrize(("backend", "stage"), PLANTED)
def test_a_sleep_shows_in_its_stage_and_only_there(
    backend: str,
    stage: str,
    carn_like_bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(native_pipeline, "PIXELS_PER_CHUNK", 4096)  # work for several threads
    upscaler = Upscaler(carn_like_bundle, backend=backend, threads=3)
    image = _picture((40, 40))
    upscaler(image)
    sleep = _planted(backend)[stage]
    sleep.plant(monkeypatch)
    _expect_alone(upscaler, sleep, image, stage)


def _expect_alone(upscaler: Upscaler, sleep: "Sleep", image: Any, stage: str) -> None:  # noqa: ANN401
    for _ in range(ATTEMPTS):
        sleep.armed = True
        found = dict(upscaler(image, adaptive=True).stats.stage_ms)
        assert not sleep.armed
        # Other threads work during the sleep: their stages take half of what that takes.
        assert found.pop(stage) >= 0.5 * SLEEP_MS
        if sum(found.values()) < 0.5 * SLEEP_MS:
            return
    pytest.fail(f"{SLEEP_MS} ms of {stage} are in {found}")


@pytest.mark.parametrize("j", [0, 1])
def test_a_sleep_in_a_native_upsampler_is_its_own(
    j: int, carn_like_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upscaler = Upscaler(carn_like_bundle, backend="native", threads=3)
    original = PixelPasses.fill
    sleep = Sleep(PixelPasses, "fill")

    def fill(self: PixelPasses, *args: Any) -> None:  # noqa: ANN401
        original(self, *args)
        if sleep.armed:
            sleep.armed = False
            time.sleep(SLEEP_MS / 1000)
            args[4][3 + j] += SLEEP_MS / 1000

    monkeypatch.setattr(PixelPasses, "fill", fill)
    _expect_alone(upscaler, sleep, _picture((40, 40)), f"upsampler_{j}")


def test_the_compiled_pass_tells_upsamplers_apart() -> None:
    """Wide and narrow on pixels of their own; none on no pixels; all within the call's time."""
    scene = Scene.make((64, 64), 4, WIDE_AND_NARROW)
    labels = scene.assignment()
    for only in (None, 0, 1):
        if only is not None:
            labels[:] = only
        seconds = np.zeros(2)
        start = time.perf_counter()
        out = np.empty((3, *scene.grid.hr_size), np.float32)
        scene.passes.compose(scene.band(), scene.rows, labels, out, seconds)
        wall = time.perf_counter() - start
        assert 0 < seconds.sum() < wall
        if only is None:
            assert seconds[0] > 2 * seconds[1] > 0
        else:
            assert seconds[1 - only] == 0


@pytest.mark.parametrize("backend", ["native", "onnxruntime", "torch"])
def test_spans_are_those_of_the_stages(backend: str, carn_like_bundle: Path) -> None:
    upscaler = Upscaler(carn_like_bundle, backend=backend, threads=2)
    start = time.perf_counter()
    with recorded_spans() as spans:
        stats = upscaler(_picture((100, 100))).stats
    stop = time.perf_counter()
    assert {span.name for span in spans} == set(stats.stage_ms)
    assert all(start <= span.start_s <= span.stop_s <= stop for span in spans)
    for thread in {span.thread_id for span in spans}:
        mine = sorted(span[3:] for span in spans if span.thread_id == thread)
        assert all(a[1] <= b[0] for a, b in itertools.pairwise(mine))
    lanes = {span.lane for span in spans}
    assert "MainThread" in lanes
    assert any(lane.startswith("pcsr") for lane in lanes) == (backend == "native")


def test_what_a_writer_takes_has_its_stage(carn_like_bundle: Path) -> None:
    upscaler = Upscaler(carn_like_bundle, backend="native")
    stats = upscaler.stream(_picture((40, 40)), lambda rows: time.sleep(SLEEP_MS / 1000))
    assert stats.stage_ms["take"] >= SLEEP_MS
    assert stats.total_ms - stats.stage_ms["take"] < sum(stats.stage_ms.values())
