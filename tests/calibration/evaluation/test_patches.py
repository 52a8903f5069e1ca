"""The evaluation by patches: what the published code computed (golden/patches_*.npz), and slow,
obvious loops around the network in PyTorch.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pcsr import ImageError, Upscaler, UsageError
from pcsr.calibration.evaluation.patches import PatchedResult, Patches, upscale_patches
from pcsr.export.network import NetworkSettings, build_network, completed
from pcsr.metrics import psnr
from pcsr.models import PCSR
from pcsr.models.checkpoint import read_checkpoint
from pcsr.runtime.layout import RGB8
from pcsr.runtime.routing.request import RoutingRequest
from pcsr.runtime.together.batch import upscale_together
from tests import checkpoints, tolerances
from tests.conftest import REFERENCE
from tests.exports import Exports
from tests.runtime.routing.calibrations import calibrated

Floats = NDArray[np.float32]
ADM = RoutingRequest(adaptive=True)
MODES = {
    "k0": RoutingRequest(k=0),
    "k1": RoutingRequest(k=1),
    "adm": ADM,
    "heavy": RoutingRequest(k=-25),
}
SHIPPED = Path(__file__).parents[3] / "training" / "checkpoints" / "tiny-three-way-x4.pth"
GOLDEN = sorted((REFERENCE / "golden").glob("patches_*.npz"))
BACKENDS = ("native", "onnxruntime", "torch")


def photo(height: int, width: int) -> NDArray[np.uint8]:
    """Smooth here and noisy there, and with values whose overshoots lie beyond [0, 1]."""
    random = np.random.default_rng((height, width))
    noise = random.integers(0, 256, (height, width, 3))
    ramp = np.linspace(0, 1, width)[:, None]
    return (255 * (1 - ramp) + noise * ramp).astype(np.uint8)


class Golden(NamedTuple):
    """What the published code made of an image."""

    bundle: Path
    arrays: dict[str, NDArray[Any]]

    @property
    def patches(self) -> Patches:
        return Patches(*(int(self.arrays[name]) for name in ("patch", "step", "patch_batch")))

    def run(self, backend: str, mode: str) -> PatchedResult:
        with Upscaler(self.bundle, backend=backend) as upscaler:
            return upscale_patches(
                upscaler, self.arrays["lr_u8"], int(self.arrays["scale"]), MODES[mode], self.patches
            )


@pytest.fixture(scope="module", params=GOLDEN, ids=lambda path: path.stem)
def golden(request: pytest.FixtureRequest, reference: Path, exports: Exports) -> Golden:
    name = request.param.stem.split("_")[1]
    bundle = exports.of_file(reference / "checkpoints" / f"{name}-pcsr.pth")
    with np.load(request.param) as file:
        return Golden(bundle, dict(file))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_it_is_the_published_one(golden: Golden, backend: str, mode: str) -> None:
    found, published = golden.run(backend, mode), golden.arrays
    expected = published[f"sr_{mode}"]
    assert found.image.shape == expected.shape
    assert found.image.dtype == np.float32
    gap = np.abs(found.image - expected).max(axis=2)
    # A pixel that is routed differently moves itself and, by refinement, those around it.
    assert (gap > tolerances.IMAGE_FP32).mean() <= 9 * tolerances.REROUTED_SHARE
    hr, scale = published["hr_u8"], int(published["scale"])
    found_db = psnr(RGB8.from_network(found.image), hr, scale)
    assert abs(found_db - published[f"psnr_{mode}"]) <= tolerances.PSNR_DB
    if backend != "torch":  # which routes one pixel of one file differently
        assert gap.max() <= tolerances.IMAGE_FP32
        assert found.paper_flops / 1e9 == float(published[f"gflops_{mode}"])


class Case(NamedTuple):
    """A network, an image's (height, width), its patches and how many they are."""

    checkpoint: tuple[str, int]
    size: tuple[int, int]
    patches: Patches
    pieces: int
    scale: int = 4


def slow_patches(
    network: PCSR, lr: NDArray[np.uint8], case: Case, options: dict[str, Any]
) -> tuple[Floats, list[NDArray[np.int64]]]:
    """The image, and the upsamplers of each patch: with `adaptive` the network clusters all that it
    is given, so it is given whole batches.
    """
    scale, side, step = case.scale, case.patches.side, case.patches.step
    places = list(
        itertools.product(*(range(0, n - side + 1, step) for n in (lr.shape[0], lr.shape[1])))
    )
    pixels = torch.from_numpy(lr.astype(np.float32) / np.float32(255)).permute(2, 0, 1)
    height, width = (scale * (places[-1][axis] + side) for axis in (0, 1))
    total, count = np.zeros((height, width, 3)), np.zeros((height, width, 1))
    assignments: list[NDArray[np.int64]] = []
    for first in range(0, len(places), case.patches.batch):
        some = places[first : first + case.patches.batch]
        batch = torch.stack([pixels[:, y : y + side, x : x + side] for y, x in some])
        made = network(batch, scale, **options)
        for (y, x), image, labels in zip(some, made.image, made.assignment, strict=True):
            where = tuple(slice(scale * n, scale * (n + side)) for n in (y, x))
            total[where] += image.permute(1, 2, 0).numpy()
            count[where] += 1
            assignments.append(labels.numpy())
    return (total / count).astype(np.float32), assignments


CASES = {
    "several batches": Case(("carn", 2), (45, 62), Patches(12, 4), 9 * 13),
    "no overlap": Case(("fsrcnn", 2), (33, 50), Patches(16, 16), 2 * 3),
    "one patch": Case(("srresnet", 2), (18, 25), Patches(16, 10), 1),
    "one row": Case(("srresnet", 2), (19, 64), Patches(17, 5, 4), 10, 3),
    "three": Case(("fsrcnn", 3), (40, 37), Patches(14, 6, 7), 5 * 4),
    "much overlap": Case(("carn", 3), (20, 21), Patches(13, 1, 50), 8 * 9, 2),
    "one upsampler": Case(("srresnet", 1), (30, 41), Patches(16, 13), 2 * 2),
}


def network_of(bundle: Path) -> PCSR:
    checkpoint = read_checkpoint(bundle.parent / "network.pth")
    network = build_network(checkpoint, completed(NetworkSettings(), checkpoint))
    assert isinstance(network, PCSR)
    return network


WAYS: list[dict[str, Any]] = [{}, {"k": 0.7}, {"adaptive": True}]
RUNS = [
    pytest.param(case, options, id=f"{name}-{options}")
    for name, case in CASES.items()
    for options in (WAYS if case.checkpoint[1] > 1 else WAYS[:1])
]


@pytest.mark.parametrize(("case", "options"), RUNS)
def test_it_is_pytorch_patch_by_patch(
    exports: Exports, case: Case, options: dict[str, Any]
) -> None:
    bundle, lr = exports.of(checkpoints.tiny(*case.checkpoint)), photo(*case.size)
    assert_is_slow(bundle, lr, case, options)


@pytest.mark.parametrize("options", [{}, {"adaptive": True}], ids=str)
def test_a_trained_network_of_three(exports: Exports, options: dict[str, Any]) -> None:
    case = Case(("", 3), (51, 70), Patches(20, 7, 11), 5 * 8)
    assert_is_slow(exports.of_file(SHIPPED), photo(*case.size), case, options)


def assert_is_slow(
    bundle: Path, lr: NDArray[np.uint8], case: Case, options: dict[str, Any]
) -> None:
    expected, labels = slow_patches(network_of(bundle), lr, case, options)
    with Upscaler(bundle, threads=2) as upscaler:
        found = upscale_patches(upscaler, lr, case.scale, RoutingRequest(**options), case.patches)
        costs = upscaler.bundle.manifest.costs
    assert found.patches == len(labels) == case.pieces
    assert found.image.shape == expected.shape
    count = len(costs.upsampler_flops)
    exact = [tuple(np.bincount(each.ravel(), minlength=count).tolist()) for each in labels]
    counts = np.sum(exact, axis=0)
    rerouted = np.abs(counts - found.pixels_per_upsampler).sum()
    assert rerouted <= 2 * max(1, int(tolerances.REROUTED_SHARE * counts.sum()))
    gap = np.abs(found.image - expected).max(axis=2)
    assert (gap > tolerances.IMAGE_FP32).sum() <= 9 * rerouted
    if rerouted == 0:
        side = case.scale * case.patches.side
        sizes = (case.patches.side,) * 2, (side, side)
        assert found.paper_flops == sum(costs.paper_flops(*sizes, each) for each in exact)
        assert found.macs == pytest.approx(sum(costs.macs(*sizes, each) for each in exact))


def test_neither_clipped_nor_rounded_before_the_mean(carn_like_bundle: Path) -> None:
    lr, patches = photo(40, 52), Patches(16, 12)
    with Upscaler(carn_like_bundle, threads=2) as upscaler:
        found = upscale_patches(upscaler, lr, 4, RoutingRequest(), patches).image
    assert found.max() > 1.01, "the case shows nothing"
    with Upscaler(carn_like_bundle, threads=2) as upscaler:
        made = upscaler(patches.cut(lr)).image
    rounded = patches.joined(made.astype(np.float32) / np.float32(255), (40, 52), 4)
    assert np.abs(found.clip(0, 1) - rounded).max() > 1 / 255


def test_batches_are_clustered_one_by_one(carn_like_bundle: Path) -> None:
    lr, found = photo(40, 52), []
    for batch in (1, 5, 96):
        with Upscaler(carn_like_bundle, threads=2) as upscaler:
            made = upscale_patches(upscaler, lr, 4, ADM, Patches(16, 12, batch))
        found.append(made.pixels_per_upsampler)
    assert len(set(found)) == 3
    with Upscaler(carn_like_bundle, threads=2) as upscaler:
        alone = upscaler(Patches(16, 12).cut(lr), adaptive=True).stats
    assert found[0] == alone.pixels_per_upsampler


def test_no_more_than_a_batch_is_held(
    carn_like_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []

    def counted(upscaler: Upscaler, images: Floats, *rest: Any) -> Any:  # noqa: ANN401
        sizes.append(len(images))
        return upscale_together(upscaler, images, *rest)

    monkeypatch.setattr("pcsr.calibration.evaluation.patches.upscale_together", counted)
    with Upscaler(carn_like_bundle, threads=2) as upscaler:
        found = upscale_patches(upscaler, photo(33, 40), 2, ADM, Patches(8, 5, 10))
    assert sizes == [10, 10, 10, 10, 2]
    assert found.patches == 42


def test_a_plain_network(plain_bundle: Path) -> None:
    lr, patches = photo(40, 52), Patches(16, 12)
    with Upscaler(plain_bundle, threads=2) as upscaler:
        found = upscale_patches(upscaler, lr, None, RoutingRequest(), patches)
        floats = patches.cut(lr).astype(np.float32) / np.float32(255)
        each = np.stack([upscaler(one).image for one in floats])
        costs = upscaler.bundle.manifest.costs
    assert np.array_equal(found.image, patches.joined(each, (40, 52), 4))
    assert found.pixels_per_upsampler == ()
    assert found.paper_flops == 12 * costs.paper_flops((16, 16), (64, 64), ())
    assert found.total_ms > 0


@pytest.mark.parametrize("backend", BACKENDS[1:])
def test_other_backends(carn_like_bundle: Path, backend: str) -> None:
    lr, patches = photo(45, 62), Patches(14, 6, 20)
    for request in (RoutingRequest(k=0.5), ADM, RoutingRequest(heavy_ratio=0.3)):
        results = []
        for name in ("native", backend):
            with Upscaler(carn_like_bundle, backend=name, threads=2) as upscaler:
                results.append(upscale_patches(upscaler, lr, 4, request, patches))
        native, found = results
        counts = np.subtract(native.pixels_per_upsampler, found.pixels_per_upsampler)
        assert np.abs(counts).max() <= tolerances.REROUTED_SHARE * sum(native.pixels_per_upsampler)
        gap = np.abs(native.image - found.image).max(axis=2)
        assert (gap > tolerances.IMAGE_FP32).mean() <= 9 * tolerances.REROUTED_SHARE


@pytest.mark.parametrize("side", [4, 5, 8])
def test_whole_steps(side: int) -> None:
    """As the published code counts them, for every size from a patch on."""
    for step in range(1, side + 1):
        patches = Patches(side, step)
        for n in range(side, side + 3 * step + 2):
            expected = ((n - side + step) // step - 1) * step + side
            assert patches.cropped((n, side)) == (expected, side)
            assert patches.cropped((side, n)) == (side, expected)
            assert n - step < expected <= n
        with pytest.raises(UsageError, match=rf"{side}x{side - 1} pixels is smaller than a patch"):
            patches.cropped((side - 1, side))


def test_patches_are_cut_row_by_row() -> None:
    lr, patches = photo(23, 31), Patches(8, 5)
    cut = patches.cut(lr)
    assert cut.shape == (20, 8, 8, 3)
    assert np.array_equal(cut[5 + 2], lr[5:13, 10:18])
    height, width = patches.cropped((23, 31))
    assert (height, width) == (23, 28)
    assert np.array_equal(cut, patches.cut(lr[:height, :width]))


@pytest.mark.parametrize(("side", "step"), [(8, 8), (8, 6), (8, 3), (8, 1), (5, 2)])
def test_overlaps_are_averaged(side: int, step: int) -> None:
    patches, size = Patches(side, step), (19, 26)
    random = np.random.default_rng(0)
    count = len(patches.cut(photo(*size)))
    made = random.random((count, 2 * side, 2 * side, 3)).astype(np.float32)
    height, width = (2 * n for n in patches.cropped(size))
    layers = [np.full((height, width, 3), np.nan) for _ in made]
    columns = (patches.cropped(size)[1] - side) // step + 1
    for index, (layer, patch) in enumerate(zip(layers, made, strict=True)):
        y, x = (2 * step * n for n in divmod(index, columns))
        layer[y : y + 2 * side, x : x + 2 * side] = patch
    found = patches.joined(made, size, 2)
    assert found.dtype == np.float32
    assert np.abs(found - np.nanmean(layers, axis=0)).max() < 1e-6


def test_scales_at_which_patches_lie_on_whole_pixels(carn_like_bundle: Path) -> None:
    with Upscaler(carn_like_bundle, threads=2) as upscaler:
        found = upscale_patches(upscaler, photo(30, 41), 2.5, ADM, Patches(16, 12))
        assert found.image.shape == (70, 100, 3)
        for side, step in ((16, 11), (15, 12)):
            with pytest.raises(UsageError, match=r"at scale 2\.5 patches of 1.* whole output pix"):
                upscale_patches(upscaler, photo(30, 41), 2.5, ADM, Patches(side, step))


def wrong_patches() -> Iterator[tuple[dict[str, Any], str]]:
    for name, value in itertools.product(("side", "step", "batch"), (0, -1, 2.5, "8", None, True)):
        yield {name: value}, f"^{name} must be a whole number from 1 on, found"
    yield {"side": 8}, r"^the step between patches must be at most their side \(8 px\), found 28"


@pytest.mark.parametrize(("values", "message"), [*wrong_patches()], ids=str)
def test_wrong_patches(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Patches(**values)


def test_wrong_calls(carn_like_bundle: Path, tmp_path: Path) -> None:
    patches, lr = Patches(16, 12), photo(30, 41)
    image: Any
    with Upscaler(calibrated(carn_like_bundle, tmp_path / "bundle")) as upscaler:
        with pytest.raises(UsageError, match="41x15 pixels is smaller than a patch of 16x16"):
            upscale_patches(upscaler, lr[:15], 4, ADM, patches)
        for image in (lr.astype(np.float64), lr[..., 0], lr[..., :1], lr[None]):
            with pytest.raises(ImageError, match="expected RGB uint8"):
                upscale_patches(upscaler, image, 4, ADM, patches)
        with pytest.raises(UsageError, match="a budget is for one image"):
            upscale_patches(upscaler, lr, 4, RoutingRequest(budget_ms=1000), patches)
        preset = upscale_patches(upscaler, lr, 4, RoutingRequest(preset="fast"), patches)
        assert preset.pixels_per_upsampler[0] < preset.pixels_per_upsampler[1]
    made = np.zeros((6, 64, 64, 3), dtype=np.float32)
    assert patches.joined(made, (30, 41), 4).shape == (112, 160, 3)
    for shape in (made[:5], made[:, :63], made[..., :1]):
        with pytest.raises(UsageError, match=r"expected patches \[6, 64, 64, 3\], found"):
            patches.joined(shape, (30, 41), 4)


def test_a_patch_has_borders_of_its_own(carn_like_bundle: Path) -> None:
    """Where only the first patch lies, the image is that of the patch alone, bit for bit."""
    lr, patches, own = photo(28, 40), Patches(16, 12), slice(0, 48)
    with Upscaler(carn_like_bundle, threads=2) as upscaler:
        found = upscale_patches(upscaler, lr, 4, RoutingRequest(), patches)
        corner = upscaler(lr[:16, :16].astype(np.float32) / np.float32(255))
    assert np.array_equal(found.image[own, own], corner.image[own, own])
