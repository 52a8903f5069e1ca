"""What the wrappers launch compiles for NVIDIA GPUs, fits their shared memory, and is computed on
tensor cores. Without a GPU.
"""

import importlib
import math
import re
from collections.abc import Callable, Sequence
from types import ModuleType

import pytest
import torch
from torch import Tensor

from benchmarks.compiled.compiler import SHARED_LIMIT, Compiled
from benchmarks.compiled.descriptors import products_at_loaded_addresses
from pcsr.runtime.geometry.device_grid import DeviceGrid
from pcsr.runtime.kernels import (
    BandInputs,
    DeviceRule,
    adaptive,
    adaptive_bounds,
    dense,
    ensemble,
    finish,
    launch,
    ratio_cut,
    route,
    sparse,
)
from pcsr.runtime.kernels.convolutions.epilogue import epilogue
from pcsr.runtime.kernels.tiles import Tile, Work
from tests.runtime.networks import Scene

from .replacing import replaced
from .scenes import DEPTHS, MODELS, THREE, Hidden, packed, routing_buffers

SPILLED = 256  # bytes per thread that are no reason to change a kernel: SRResNet's of 192 channels
each_gpu = pytest.mark.parametrize("capability", [80, 89, 90])
every_gpu = pytest.mark.parametrize("capability", list(SHARED_LIMIT))
each_model = pytest.mark.parametrize("model", list(MODELS))
ROUTES = [(2, "cut"), (2, "bounds"), (3, "cut"), (3, "bounds"), (3, "penalty")]


def _passes(
    hidden: Hidden, depth: int, dtype: torch.dtype, capability: int, patch: pytest.MonkeyPatch
) -> dict[str, Compiled]:
    """The dense and the heaviest sparse pass."""
    patch.setattr(launch, "generation", lambda _: capability // 10)
    launches = {
        name: replaced(patch, _module(name), f"{name}_kernel") for name in ("dense", "sparse")
    }
    scene = Scene.make((4, 200), 4, hidden, depth)
    grid, mlps = scene.grid, packed(scene, dtype)
    pre = torch.zeros((800, mlps.first_weight.shape[1]), dtype=dtype)
    inputs = BandInputs(mlps, DeviceGrid.of(grid, "cpu"), pre, torch.from_numpy(scene.image))
    canvas = torch.zeros((*grid.hr_size, 3))
    dense(inputs, canvas, torch.zeros((mlps.classes, grid.pixels)))
    pixels, count = (torch.zeros(n, dtype=torch.int32) for n in (grid.pixels, 1))
    sparse(inputs, 0, pixels, count, canvas, 132)
    return {name: launch.compile(capability) for name, launch in launches.items()}


def _module(name: str) -> ModuleType:
    """`pcsr.runtime.kernels.dense` is the function."""
    return importlib.import_module(f"pcsr.runtime.kernels.{name}")


def _report(model: str, dtype: torch.dtype, capability: int, passes: dict[str, Compiled]) -> None:
    for name, compiled in passes.items():
        print(  # noqa: T201
            f"{model:8} {dtype} sm_{capability} {name:6} {compiled.registers:3} registers, "
            f"{compiled.spilled:4} B spilled, {compiled.shared:6} B shared"
        )


@each_model
@every_gpu
def test_passes_in_half_precision_use_tensor_cores_and_fit(
    model: str, capability: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = _passes(MODELS[model], DEPTHS[model], torch.float16, capability, monkeypatch)
    _report(model, torch.float16, capability, passes)
    for name, compiled in passes.items():
        assert compiled.uses_tensor_cores
        wide = model == "srresnet" and name == "sparse"
        assert ("wgmma" in compiled.ptx) == (capability == 90 and not wide)
        assert products_at_loaded_addresses(compiled.sass) == []
        assert compiled.spilled <= SPILLED
        assert compiled.shared <= SHARED_LIMIT[89]


@each_model
@pytest.mark.parametrize("index", [1, 2, 3])
@pytest.mark.parametrize("capability", [80, 86, 89, 90])
def test_tiles_that_are_tried_fit(
    model: str, index: int, capability: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test above has the first of them, which is alone where the weights are wide (SRResNet's
    upsampler; its dense pass does without a limit of registers).
    """
    tried: dict[str, Tile] = {}

    def run_fastest(work: Work, tiles: Sequence[Tile], run: Callable[[Tile], None]) -> None:
        tried[work.name] = tiles[min(index, len(tiles) - 1)]
        run(tried[work.name])

    for name in ("dense", "sparse"):
        monkeypatch.setattr(_module(name), "run_fastest", run_fastest)
    passes = _passes(MODELS[model], DEPTHS[model], torch.float16, capability, monkeypatch)
    print(*map(str, tried.values()))  # noqa: T201
    _report(model, torch.float16, capability, passes)
    if model != "srresnet":
        assert tried == {name: _module(name).TILES[index - 1] for name in ("dense", "sparse")}
    for name, compiled in passes.items():
        assert compiled.warps == tried[name].warps
        assert compiled.registers <= (tried[name].most_registers or 255)
        assert compiled.uses_tensor_cores
        assert products_at_loaded_addresses(compiled.sass) == []
        assert compiled.spilled <= SPILLED
        assert compiled.shared <= SHARED_LIMIT[89]


@pytest.mark.parametrize(
    ("model", "dtype", "capability"),
    [
        ("carn", torch.bfloat16, 90),
        ("fsrcnn", torch.bfloat16, 80),
        ("srresnet", torch.bfloat16, 90),
    ],
)
def test_passes_in_bfloat16_use_tensor_cores(
    model: str, dtype: torch.dtype, capability: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for compiled in _passes(MODELS[model], DEPTHS[model], dtype, capability, monkeypatch).values():
        assert compiled.uses_tensor_cores
        assert ".bf16" in compiled.ptx
        assert products_at_loaded_addresses(compiled.sass) == []
        assert compiled.shared <= SHARED_LIMIT[89]


@pytest.mark.parametrize(("model", "capability"), [("carn", 90), ("fsrcnn", 80), ("fsrcnn", 89)])
def test_passes_in_float32_are_exact_sums(
    model: str, capability: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No TF32 by the way."""
    passes = _passes(MODELS[model], DEPTHS[model], torch.float32, capability, monkeypatch)
    _report(model, torch.float32, capability, passes)
    for compiled in passes.values():
        assert "tf32" not in compiled.ptx
        assert "fma.rn.f32" in compiled.ptx
        assert compiled.shared <= SHARED_LIMIT[89]


def test_three_upsamplers_of_other_widths_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    for compiled in _passes(THREE, 20, torch.float16, 90, monkeypatch).values():
        assert compiled.uses_tensor_cores


@pytest.mark.parametrize("is_listed", [False, True])
@pytest.mark.parametrize("widths", [[64] * 3, [16], []])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("capability", [80, 90, 120])
def test_ensembles_compile(
    dtype: torch.dtype,
    widths: list[int],
    is_listed: bool,
    capability: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(launch, "generation", lambda _: capability // 10)
    launches = replaced(monkeypatch, _module("ensemble"), "ensemble_kernel")
    way = (4, "bilinear" if is_listed else "none")
    scene = Scene.make((4, 200), 4, {"upsampler_0": widths}, 64, ways={"upsampler_0": way})  # type: ignore[dict-item]
    grid, mlps = scene.grid, packed(scene, dtype)
    pre = torch.zeros((800, mlps.first_weight.shape[1]), dtype=dtype)
    inputs = BandInputs(mlps, DeviceGrid.of(grid, "cpu"), pre, torch.from_numpy(scene.image))
    pixels, count = (torch.zeros(n, dtype=torch.int32) for n in (grid.pixels, 1))
    canvas = torch.zeros((*grid.hr_size, 3))
    ensemble(inputs, 0, (pixels, count) if is_listed else None, canvas, 132)
    compiled = launches.compile(capability)
    assert compiled.uses_tensor_cores == (dtype == torch.float16 and widths != [])
    assert products_at_loaded_addresses(compiled.sass) == []
    assert compiled.spilled <= SPILLED
    assert compiled.shared <= SHARED_LIMIT[89]


@pytest.mark.parametrize(("count", "kind"), ROUTES)
@each_gpu
def test_routing_compiles(
    count: int, kind: str, capability: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    launches = replaced(monkeypatch, _module("route"), "route_kernel")
    size = {"cut": 1, "bounds": count - 1, "penalty": count}[kind]
    rule = DeviceRule(count, kind, torch.zeros(size))  # type: ignore[arg-type]
    for pixels in (5008, 5001, 1):
        logits = torch.zeros((1 if count == 2 else count, pixels))
        route(logits, rule, routing_buffers(count, pixels))
        compiled = launches.compile(capability)
        assert compiled.spilled == 0
        assert ("st.global.v4.b32" in compiled.ptx) == (pixels == 5008)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.float32])
@pytest.mark.parametrize("refine_below", [0, 1])
@pytest.mark.parametrize("tile", _module("finish").TILES, ids=str)
@each_gpu
def test_finishing_compiles(
    dtype: torch.dtype,
    refine_below: int,
    tile: Tile,
    capability: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Vectors are moved where the pixels are a multiple of 16."""
    monkeypatch.setattr(_module("finish"), "run_fastest", lambda _work, _tiles, run: run(tile))
    launches = replaced(monkeypatch, _module("finish"), "finish_kernel")
    invalid = torch.zeros(1, dtype=torch.int32)
    for height, width in ((4, 500), (3, 47), (1, 1)):
        canvas, out = torch.zeros((height, width, 3)), torch.zeros((height, width, 3), dtype=dtype)
        labels = torch.zeros(height * width, dtype=torch.uint8)
        finish(canvas, labels, (0, height), 0, height, refine_below, out, invalid)
        compiled = launches.compile(capability)
        assert compiled.spilled == 0
        wide = {torch.uint8: "v2.b32", torch.uint16: "v4.b32", torch.float32: "v4.b32"}[dtype]
        assert (f"st.global.{wide}" in compiled.ptx) == (width == 500)
        assert ("ld.global.v4.b32" in compiled.ptx) == (width == 500)


@pytest.mark.parametrize("count", [2, 3])
@each_gpu
def test_statistics_compile(count: int, capability: int, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"adaptive": ("extremes", "histogram", "bounds"), "ratio": ("digits", "rank")}
    launches = {
        name: replaced(monkeypatch, _module(home), f"{name}_kernel")
        for home, kernels in names.items()
        for name in kernels
    }
    for index, pixels in enumerate((5008, 5001, 1)):
        logits = torch.zeros((1 if count == 2 else count, pixels))
        adaptive_bounds(logits, count, torch.zeros(count - 1))
        ratio_cut(logits, count, torch.tensor([0]), torch.zeros(1))
        seen = [len(launch.seen) for launch in launches.values()]
        assert seen == [index + 1] * 3 + [2 * index + 2] * 2
        compiled = {name: launch.compile(capability) for name, launch in launches.items()}
        for kernel in compiled.values():
            assert kernel.spilled == 0
        for name in ("bounds", "rank"):
            assert "atom.global.gpu.acq_rel.add" in compiled[name].ptx
        for name in ("histogram", "digits"):
            assert "atom.global.gpu.relaxed.add" in compiled[name].ptx
        for name in ("extremes", "digits"):
            assert ("ld.global.v4.b32" in compiled[name].ptx) == (pixels == 5008)


def test_constants_of_the_launches_are_plain_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tensor among them would be read on the host, which waits for the device."""
    launches = replaced(monkeypatch, adaptive, "bounds_kernel")
    for name in ("extremes_kernel", "histogram_kernel"):
        replaced(monkeypatch, adaptive, name)
    adaptive_bounds(torch.zeros((3, 100)), 3, torch.zeros(2))
    args, options = launches.seen[0]
    assert all(isinstance(arg, Tensor | tuple) for arg in args)
    assert not any(isinstance(value, Tensor) for value in options.values())
    assert math.isfinite(options["TOLERANCE"])


@pytest.mark.parametrize(
    ("channels", "dtype"),
    [
        (3, torch.float32),
        (48, torch.float16),
        (48, torch.bfloat16),
        (52, torch.float16),
        (52, torch.float32),
    ],
)
@each_gpu
def test_epilogues_move_vectors(
    channels: int, dtype: torch.dtype, capability: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Channels last: of 16 bytes, and of 8 where 4 divides the channels and not 8. The number of
    pixels is odd.
    """
    launches = replaced(monkeypatch, _module("convolutions.epilogue"), "epilogue_kernel")
    y = torch.zeros((1, channels, 5, 7), dtype=dtype).contiguous(memory_format=torch.channels_last)
    wide = {3: None, 48: "v4.b32", 52: "v4.b32" if dtype == torch.float32 else "v2.b32"}[channels]
    for added, slope in ((None, 0.1), (torch.empty_like(y), 0.0)):
        epilogue(y, torch.zeros(channels, dtype=dtype), added, slope)
        compiled = launches.compile(capability)
        assert compiled.spilled == 0
        assert "fma" not in compiled.ptx
        if wide:
            loads = re.findall(r"ld\.global\S*", compiled.ptx)
            assert {*loads} == {f"ld.global.{wide}"}
            assert f"st.global.{wide}" in compiled.ptx


@each_gpu
def test_an_epilogue_over_planes_compiles(capability: int, monkeypatch: pytest.MonkeyPatch) -> None:
    launches = replaced(monkeypatch, _module("convolutions.epilogue"), "epilogue_kernel")
    for size, wide in (((4, 6), "v4.b32"), ((5, 7), "b32")):
        y = torch.zeros((2, 52, *size))
        epilogue(y, torch.zeros(52), y, 0.1)
        compiled = launches.compile(capability)
        assert compiled.spilled == 0
        assert f"st.global.{wide}" in compiled.ptx
