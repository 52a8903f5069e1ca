"""What the published code computed (golden/*.npz), reproduced through exported bundles."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pcsr import Bundle, Result, Upscaler
from pcsr.export.network import NetworkSettings, build_network
from pcsr.models import PCSR
from pcsr.models.checkpoint import read_checkpoint
from tests import tolerances
from tests.conftest import REFERENCE

from . import reference as slow
from .compare import assert_difficulties_agree, assert_images_agree, assert_routed_alike, psnr_db
from .conftest import CHECKPOINTS

Floats = NDArray[np.float32]
FILES = [
    path for model in CHECKPOINTS for path in sorted((REFERENCE / "golden").glob(f"{model}_*.npz"))
]


@dataclass(frozen=True)
class Golden:
    """One file."""

    path: Path

    @property
    def model(self) -> str:
        return self.path.stem.partition("_")[0]

    @cached_property
    def arrays(self) -> dict[str, NDArray[Any]]:
        with np.load(self.path) as file:
            return dict(file)

    @property
    def image(self) -> Floats:
        """[h, w, 3] in [0, 1]."""
        return self.arrays["lr_u8"].astype(np.float32) / np.float32(255)

    @property
    def scale(self) -> float:
        return float(self.arrays["scale"])


def _images(path: Path) -> list[str]:
    """Names of the images in a file, such as k0.5_r1."""
    with np.load(path) as file:
        return [key.removeprefix("sr_") for key in file.files if key.startswith("sr_")]


def _options(mode: str) -> dict[str, Any]:
    return {"adaptive": True} if mode == "adm" else {"k": float(mode.removeprefix("k"))}


CASES = [(path, name) for path in FILES for name in _images(path)]
UNREFINED = [path for path in FILES if "k0_r0" in _images(path)]
each_file = pytest.mark.parametrize(
    "golden", [Golden(path) for path in FILES], ids=[path.stem for path in FILES]
)
each_image = pytest.mark.parametrize(
    ("golden", "name"),
    [(Golden(path), name) for path, name in CASES],
    ids=[f"{path.stem}-{name}" for path, name in CASES],
)


@pytest.fixture(scope="module", params=["native", "onnxruntime", "torch"])
def upscalers(
    published_bundles: dict[str, Bundle], request: pytest.FixtureRequest
) -> dict[str, Upscaler]:
    return {
        model: Upscaler(bundle.path, backend=request.param)
        for model, bundle in published_bundles.items()
    }


@pytest.fixture(scope="session")
def networks(reference: Path) -> dict[str, PCSR]:
    """The published checkpoints in eager PyTorch."""
    found = {}
    for model, name in CHECKPOINTS.items():
        checkpoint = read_checkpoint(reference / "checkpoints" / f"{name}.pth")
        network = build_network(checkpoint, NetworkSettings())
        assert isinstance(network, PCSR)
        found[model] = network
    return found


@pytest.fixture
def published_threads() -> Iterator[None]:
    """PyTorch splits its sums among its threads; the golden files were made with two."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def run(upscalers: dict[str, Upscaler]) -> Callable[[Golden, str], Result]:
    """The runtime's result for one image of one file."""

    def run_image(golden: Golden, name: str) -> Result:
        mode, _, refined = name.partition("_")
        upscale = upscalers[golden.model]
        return upscale(golden.image, golden.scale, refine=refined == "r1", **_options(mode))

    return run_image


Run = Callable[[Golden, str], Result]


@each_image
def test_heavy_map_and_image_are_the_published_ones(golden: Golden, name: str, run: Run) -> None:
    found = run(golden, name)
    assert found.heavy is not None
    same = assert_routed_alike(found.heavy, golden.arrays[f"heavy_{name.partition('_')[0]}"])
    assert_images_agree(found.image, golden.arrays[f"sr_{name}"], same)


@each_image
def test_psnr_is_the_published_one(golden: Golden, name: str, run: Run) -> None:
    """Of both against a third image, the bilinear upsample."""
    published = golden.arrays[f"sr_{name}"]
    hr_size = (published.shape[0], published.shape[1])
    third = slow.grid_sample(golden.image, hr_size, "bilinear")
    gap = psnr_db(run(golden, name).image, third) - psnr_db(published, third)
    assert abs(gap) <= tolerances.PSNR_DB


@each_image
@pytest.mark.usefixtures("published_threads")
def test_eager_pytorch_is_the_published_code(
    golden: Golden, name: str, networks: dict[str, PCSR]
) -> None:
    mode, _, refined = name.partition("_")
    batch = torch.from_numpy(golden.image).permute(2, 0, 1)[None]
    network = networks[golden.model]
    found = network(batch, golden.scale, refine=refined == "r1", **_options(mode))
    same = assert_routed_alike(
        found.assignment[0].numpy() == 0,
        golden.arrays[f"heavy_{mode}"],
        limit=tolerances.EAGER_REROUTED_PX,
    )
    image = found.image[0].permute(1, 2, 0).numpy()
    assert_images_agree(image, golden.arrays[f"sr_{name}"], same, tolerances.EAGER)
    gap = np.abs(found.difficulty[0].numpy() - golden.arrays["p_heavy"])
    assert gap.max() <= tolerances.EAGER


@each_file
def test_uint8_output_is_the_published_image_rounded(
    golden: Golden, upscalers: dict[str, Upscaler]
) -> None:
    found = upscalers[golden.model](golden.arrays["lr_u8"], golden.scale)
    assert found.heavy is not None
    same = assert_routed_alike(found.heavy, golden.arrays["heavy_k0"])
    levels = golden.arrays["sr_k0_r1"].astype(np.float64).clip(0, 1) * 255
    gap = np.abs(found.image - levels)[slow.neighbourhoods_agree(same)]
    assert gap.max() <= tolerances.ROUNDED["uint8"] + 255 * tolerances.IMAGE_FP32


@each_file
def test_difficulty_is_the_published_probability_of_heavy(golden: Golden, run: Run) -> None:
    difficulty = run(golden, "k0_r1").difficulty
    assert difficulty is not None
    assert_difficulties_agree(difficulty, golden.arrays["p_heavy"])


@each_file
def test_cost_table_is_the_published_one(
    golden: Golden, published_bundles: dict[str, Bundle]
) -> None:
    cost = published_bundles[golden.model].manifest.costs.cost_table(golden.scale)
    assert cost.dtype == np.float32
    np.testing.assert_allclose(cost, golden.arrays["cost"], rtol=0, atol=tolerances.COST)


@each_image
def test_flops_are_the_published_ones(
    golden: Golden, name: str, published_bundles: dict[str, Bundle]
) -> None:
    mode = name.partition("_")[0]
    heavy = golden.arrays[f"heavy_{mode}"]
    pixels = (int(heavy.sum()), int((~heavy).sum()))
    lr_size = (golden.image.shape[0], golden.image.shape[1])
    flops = published_bundles[golden.model].manifest.costs.paper_flops(lr_size, heavy.shape, pixels)
    expected = float(golden.arrays[f"gflops_{mode}"])
    assert flops / 1e9 == pytest.approx(expected, rel=tolerances.GFLOPS)


@each_file
def test_normalisation_is_the_published_one(
    golden: Golden, published_bundles: dict[str, Bundle]
) -> None:
    model = published_bundles[golden.model].manifest.model
    np.testing.assert_allclose(model.mean, golden.arrays["mean"], rtol=0, atol=1e-7)
    assert model.std == (1.0, 1.0, 1.0)


@each_file
def test_the_slow_reference_of_adm_is_the_published_one(golden: Golden) -> None:
    """The reference that the routing tests compare with."""
    heavy, centroids = slow.adaptive_heavy(golden.arrays["p_heavy"])
    assert_routed_alike(heavy, golden.arrays["heavy_adm"].ravel())
    assert np.abs(centroids - golden.arrays["adm_centroids"]).max() <= tolerances.CENTROID


@pytest.mark.parametrize(
    "golden", [Golden(path) for path in UNREFINED], ids=[path.stem for path in UNREFINED]
)
def test_the_slow_reference_of_refinement_is_the_published_one(golden: Golden) -> None:
    for mode in ("k0", "adm"):
        unrefined = golden.arrays[f"sr_{mode}_r0"]
        expected = slow.refine(unrefined, golden.arrays[f"heavy_{mode}"])
        gap = np.abs(expected - golden.arrays[f"sr_{mode}_r1"])
        assert gap.max() <= tolerances.REFINED
