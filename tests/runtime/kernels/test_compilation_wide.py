"""What is compiled for MLPs whose weights do not stay in shared memory, in half precision."""

import importlib
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from benchmarks.compiled.compiler import SHARED_LIMIT, Compiled
from benchmarks.compiled.descriptors import products_at_loaded_addresses
from pcsr.runtime.kernels import dense, ensemble, launch, sparse
from pcsr.runtime.kernels.launch import TENSOR_MEMORY, WARPGROUPS, tiles_for_mlp
from pcsr.runtime.kernels.tiles import Tile, Work
from tests.runtime.networks import Scene

from .replacing import replaced
from .scenes import SRRESNET, Band, Hidden

HALVES = [torch.float16, torch.bfloat16]
WIDEST: Hidden = {"upsampler_0": [190] * 3, "upsampler_1": [6], "classifier": [6]}
WIDE_LIGHTEST: Hidden = {"upsampler_0": [6], "upsampler_1": [150] * 3, "classifier": [20] * 2}
each_half = pytest.mark.parametrize("dtype", HALVES)


def _mlp(width: int, bytes_: int, dtype: torch.dtype) -> Any:  # noqa: ANN401
    weights = torch.zeros(bytes_ // dtype.itemsize, dtype=dtype)
    return SimpleNamespace(width=width, weights=weights)


@each_half
@pytest.mark.parametrize("width", [96, 128, 144, 192])
@pytest.mark.parametrize("generation", [8, WARPGROUPS, *TENSOR_MEMORY, 12])
def test_only_products_of_32_pixels_run_without_held_weights_on_sm_90(
    generation: int, width: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "generation", lambda _: generation)
    not_held = tiles_for_mlp(2**22, _mlp(width, launch.HELD_BYTES + 2, dtype), dense_tiles())
    held = tiles_for_mlp(2**22, _mlp(width, launch.HELD_BYTES, dtype), dense_tiles())
    assert (not_held == [Tile(32, 4)]) == (generation == WARPGROUPS)
    assert Tile(32, 4) not in held


def dense_tiles() -> Sequence[Tile]:
    tiles: Sequence[Tile] = importlib.import_module("pcsr.runtime.kernels.dense").TILES
    return tiles


def _compiled(
    name: str, hidden: Hidden, dtype: torch.dtype, capability: int, patch: pytest.MonkeyPatch
) -> Compiled:
    """One pass over a scene's pixels, by its heaviest upsampler but for `dense`."""
    patch.setattr(launch, "generation", lambda _: capability // 10)
    module = importlib.import_module(f"pcsr.runtime.kernels.{name}")
    launches = replaced(patch, module, f"{name}_kernel")
    ways: Any = {"upsampler_0": (4, "bilinear")} if name == "ensemble" else {}
    band = Band(Scene.make((4, 50), 4, hidden, 58, ways=ways), dtype)
    inputs, canvas = band.inputs(), torch.zeros((*band.size, 3))
    size = band.size[0] * band.size[1]
    pixels, count = (torch.zeros(n, dtype=torch.int32) for n in (size, 1))
    if name == "dense":
        dense(inputs, canvas, torch.zeros((inputs.mlps.classes, size)))
    elif name == "sparse":
        sparse(inputs, 0, pixels, count, canvas, 132)
    else:
        ensemble(inputs, 0, (pixels, count), canvas, 132)
    return launches.compile(capability)


@each_half
@pytest.mark.parametrize("capability", [80, 89, 90])
@pytest.mark.parametrize(
    ("name", "hidden"),
    [
        ("sparse", SRRESNET),
        ("sparse", WIDEST),
        ("ensemble", WIDEST),
        ("dense", WIDE_LIGHTEST),
    ],
)
def test_wide_mlps_fit_and_find_their_weights(
    name: str,
    hidden: Hidden,
    capability: int,
    dtype: torch.dtype,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compiled = _compiled(name, hidden, dtype, capability, monkeypatch)
    print(name, capability, compiled.registers, compiled.spilled, compiled.shared)  # noqa: T201
    assert "mma.sync" in compiled.ptx
    assert "wgmma" not in compiled.ptx
    assert compiled.shared <= SHARED_LIMIT[89]
    assert products_at_loaded_addresses(compiled.sass) == []


def test_a_tile_that_failed_on_a_gpu_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails with a newer Triton, ptxas may be mended: look at `tiles_for_mlp`."""

    def run_fastest(_work: Work, _tiles: Sequence[Tile], run: Callable[[Tile], None]) -> None:
        run(Tile(64, 4))

    module = importlib.import_module("pcsr.runtime.kernels.sparse")
    monkeypatch.setattr(module, "run_fastest", run_fastest)
    compiled = _compiled("sparse", SRRESNET, torch.float16, 90, monkeypatch)
    assert products_at_loaded_addresses(compiled.sass) != []
