"""Networks that spandrel loads: random weights of its own classes, through the command itself."""

import importlib
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from pcsr import Upscaler, UsageError
from pcsr.bundle import Bundle
from pcsr.models.checkpoint import read_checkpoint
from pcsr.models.recognition import spandrel_networks
from tests import tolerances
from tests.commands import Ended, assert_clean, assert_refused, export

pytestmark = pytest.mark.skipif(
    not spandrel_networks.is_installed(),
    reason=f"spandrel is not installed: {spandrel_networks.HOW_TO_INSTALL}",
)
Options = dict[str, Any]


def made(name: str, **options: Any) -> Callable[[], nn.Module]:  # noqa: ANN401
    module, _, other = name.partition(".")

    def make() -> nn.Module:
        torch.manual_seed(0)
        found = importlib.import_module(f"spandrel.architectures.{module}")
        network: nn.Module = getattr(found, other or module)(**options)
        return network

    return make


PLKSR: Options = {"dim": 16, "n_blocks": 2, "kernel_size": 9, "split_ratio": 0.25, "use_ea": True}
OWN_PLKSR: Options = {
    "ccm_type": "DCCM", "lk_type": "PLK", "use_max_kernel": False, "sparse_kernels": [5, 5],
    "sparse_dilations": [1, 2], "with_idt": False,
}  # fmt: skip
RGB: Options = {"num_in_ch": 3, "num_out_ch": 3}
SWIN: Options = {"embed_dim": 12, "depths": [2], "num_heads": [2], "window_size": 8, "mlp_ratio": 2}
# architecture -> (network, tags, receptive radius)
TILED = {
    "SPAN": (made("SPAN", **RGB, feature_channels=16, upscale=4), ["16nf"], 21),
    "Compact": (
        made("Compact", **RGB, num_feat=16, num_conv=4, upscale=4), ["16nf", "4nc"], 6),
    "ESRGAN": (
        made("ESRGAN", in_nc=3, out_nc=3, num_filters=8, num_blocks=1, scale=4),
        ["8nf", "1nb"], 20),
    "PLKSR": (
        made("PLKSR", upscaling_factor=2, **PLKSR, **OWN_PLKSR),
        ["16dim", "2nb", "9ks", "DCCM"], 16),
    "RealPLKSR-LayerNorm": (
        made("PLKSR.RealPLKSR", upscaling_factor=2, layer_norm=True, **PLKSR),
        ["16dim", "2nb", "9ks", "Real", "LayerNorm"], 16),
    "MoSR": (made("MoSR", in_ch=3, out_ch=3, upscale=2, n_block=2, dim=16, upsampler="ps"), [], 14),
    "DnCNN": (made("DnCNN", in_nc=3, out_nc=3, nc=16, nb=4, mode="R"), ["16nc", "4nb"], 4),
}  # fmt: skip
REFUSED = {
    "RCAN": (
        made("RCAN", scale=2, n_resgroups=2, n_resblocks=1, n_feats=8, reduction=4),
        "spandrel:RCAN cannot be cut into exact tiles, because ReduceMean reads the whole image"),
    "RealPLKSR": (
        made("PLKSR.RealPLKSR", upscaling_factor=2, norm_groups=4, **PLKSR),
        "spandrel:PLKSR cannot .*, because InstanceNormalization reads the whole image"),
}  # fmt: skip
MULTIPLES = {
    "SAFMN": (
        made("SAFMN", dim=16, n_blocks=1, upscaling_factor=2),
        "MaxPool has strides"),
    "DITN": (
        made("DITN", dim=12, ITL_blocks=1, SAL_blocks=1, UFONE_blocks=1, upscale=2, patch_size=8),
        "MatMul multiplies pixels with each other"),
}  # fmt: skip
NEVER = {
    "SwinIR": (
        made("SwinIR", img_size=64, upscale=2, upsampler="pixelshuffledirect", **SWIN),
        "it has the operator 'Range', which is not known here; the network cannot be exported$"),
    "gray": (
        made("Compact", num_in_ch=1, num_out_ch=1, num_feat=8, num_conv=2, upscale=2),
        "Compact maps 1 channels to 1, expected RGB"),
}  # fmt: skip


def assert_refused_network(ended: Ended, pattern: str) -> None:
    """One warning says what the weights were taken for, and one error why that is refused."""
    warning, error = ended.complaints
    assert re.search("describes no network; recognised: spandrel:", warning)
    assert re.match("error: ", error)
    assert re.search(pattern, error), error
    assert ended.code == 2
    assert_clean(ended)


def saved(network: nn.Module, path: Path) -> Path:
    weights = {name: weight.contiguous() for name, weight in network.state_dict().items()}
    if path.suffix == ".safetensors":
        save_file(weights, path)
    else:
        torch.save(weights, path)
    return path


@pytest.mark.parametrize("name", TILED)
def test_a_network_with_a_bounded_receptive_field_is_exported_and_tiled(
    name: str, tmp_path: Path
) -> None:
    make, tags, radius = TILED[name]
    suffix = "safetensors" if name in ("Compact", "MoSR") else "pth"
    file = saved(make(), tmp_path / f"network.{suffix}")
    ended = export("--ckpt", file, "-o", tmp_path / "b", "--precision", "fp32,fp16")
    assert ended.code == 0, ended.stderr
    assert_clean(ended)
    bundle = Bundle.load(tmp_path / "b")
    model = bundle.manifest.model
    assert bundle.kind == "plain"
    assert model.backbone == f"spandrel:{name.partition('-')[0].removeprefix('Real')}"
    assert model.backbone_args == {"tags": tags}
    assert model.receptive_radius_px == radius
    image = np.random.default_rng(0).random((67, 91, 3), dtype=np.float32)
    whole = Upscaler(bundle.path, tile_px=1000)(image).image
    tiled = Upscaler(bundle.path, tile_px=16)(image).image
    most = tolerances.IMAGE_FP32 * max(1, np.abs(whole).max())
    assert np.abs(tiled - whole).max() <= most
    by_torch = Upscaler(bundle.path, backend="torch", tile_px=32)(image).image
    assert np.abs(by_torch - whole).max() <= most


def test_the_image_is_that_of_spandrel(tmp_path: Path) -> None:
    network = TILED["SPAN"][0]()
    file = saved(network, tmp_path / "span.pth")
    assert export("--ckpt", file, "-o", tmp_path / "b").code == 0
    image = np.random.default_rng(0).random((33, 41, 3), dtype=np.float32)
    from spandrel import ModelLoader

    with torch.no_grad():
        found = ModelLoader().load_from_state_dict(dict(network.state_dict()))
        batch = torch.from_numpy(image).permute(2, 0, 1)[None]
        expected = found.model.eval()(batch)[0].permute(1, 2, 0).numpy()
    most = tolerances.IMAGE_FP32 * max(1, np.abs(expected).max())
    assert np.abs(Upscaler(tmp_path / "b")(image).image - expected).max() <= most


@pytest.mark.parametrize("name", REFUSED)
def test_a_network_that_reads_the_whole_image_is_refused(name: str, tmp_path: Path) -> None:
    make, words = REFUSED[name]
    file = saved(make(), tmp_path / "network.pth")
    ended = export("--ckpt", file, "-o", tmp_path / "b")
    assert_refused_network(ended, f"{words}.*; pass --whole-image")
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("name", ["RCAN", "RealPLKSR"])
def test_whole_images_are_an_option(name: str, tmp_path: Path) -> None:
    file = saved(REFUSED[name][0](), tmp_path / "network.pth")
    ended = export("--ckpt", file, "-o", tmp_path / "b", "--whole-image")
    assert ended.code == 0, ended.stderr
    assert "never cut into tiles" in ended.stderr
    assert Bundle.load(tmp_path / "b").manifest.model.receptive_radius_px is None
    image = np.random.default_rng(0).random((45, 37, 3), dtype=np.float32)
    whole = Upscaler(tmp_path / "b")(image).image
    with pytest.raises(UsageError, match="is for whole images"):
        Upscaler(tmp_path / "b", tile_px=16)
    by_torch = Upscaler(tmp_path / "b", backend="torch")(image).image
    assert np.abs(by_torch - whole).max() <= tolerances.IMAGE_FP32


@pytest.mark.parametrize(("shuffle", "radius"), [(2, 41), (4, 82)])
def test_tiles_begin_at_multiples_of_what_a_network_takes(
    shuffle: int, radius: int, tmp_path: Path
) -> None:
    options: Options = {
        "in_nc": 3 * shuffle**2,
        "out_nc": 3,
        "num_filters": 8,
        "num_blocks": 1,
        "scale": 4,
    }
    network = made("ESRGAN", **options, shuffle_factor=shuffle)()
    file = saved(network, tmp_path / "network.pth")
    ended = export("--ckpt", file, "-o", tmp_path / "b", "--precision", "fp32,fp16")
    assert ended.code == 0, ended.stderr
    model = Bundle.load(tmp_path / "b").manifest.model
    assert (model.receptive_radius_px, model.size_multiple) == (radius, 4)
    from spandrel import ModelLoader

    called = ModelLoader().load_from_state_dict(dict(network.state_dict())).eval()
    for size in ((203, 310), (1, 1), (3, 600), (259, 5)):
        image = np.random.default_rng(0).random((*size, 3), dtype=np.float32)
        with torch.no_grad():  # it clips
            batch = torch.from_numpy(image).permute(2, 0, 1)[None]
            expected = called(batch)[0].permute(1, 2, 0).numpy()
        for tile_px, backend in ((None, "auto"), (17, "onnxruntime"), (33, "torch")):
            found = Upscaler(tmp_path / "b", tile_px=tile_px, backend=backend)(image).image
            assert np.abs(found.clip(0, 1) - expected).max() <= tolerances.IMAGE_FP32


@pytest.mark.parametrize("name", MULTIPLES)
def test_images_are_padded_to_the_multiples_that_a_network_takes(name: str, tmp_path: Path) -> None:
    """As spandrel pads them, down to a single pixel, and in half precision as well."""
    make, words = MULTIPLES[name]
    network = make()
    file = saved(network, tmp_path / "network.pth")
    assert_refused_network(export("--ckpt", file, "-o", tmp_path / "b"), words)
    ended = export(
        "--ckpt", file, "-o", tmp_path / "b", "--whole-image", "--precision", "fp32,fp16"
    )
    assert ended.code == 0, ended.stderr
    from spandrel import ModelLoader

    called = ModelLoader().load_from_state_dict(dict(network.state_dict())).eval()
    backends = Upscaler(tmp_path / "b"), Upscaler(tmp_path / "b", backend="torch")
    for size in ((1, 1), (3, 5), (9, 8), (37, 42), (64, 24)):
        image = np.random.default_rng(0).random((*size, 3), dtype=np.float32)
        with torch.no_grad():
            # spandrel clips results
            batch = torch.from_numpy(image).permute(2, 0, 1)[None]
            expected = called(batch)[0].permute(1, 2, 0).numpy()
        for upscaler in backends:
            found = upscaler(image).image
            assert found.shape == expected.shape
            assert np.abs(found.clip(0, 1) - expected).max() <= tolerances.IMAGE_FP32


@pytest.mark.parametrize("name", NEVER)
def test_networks_that_bundles_do_not_serve_are_refused(name: str, tmp_path: Path) -> None:
    make, words = NEVER[name]
    file = saved(make(), tmp_path / "network.pth")
    for options in ([], ["--whole-image"]):
        ended = export("--ckpt", file, "-o", tmp_path / "b", *options)
        assert_refused_network(ended, words)


def test_weights_within_wrappers_and_in_half_precision_are_recognised(tmp_path: Path) -> None:
    weights = TILED["Compact"][0]().state_dict()
    wrapped = {f"module.{name}": weight.half() for name, weight in weights.items()}
    torch.save({"params_ema": wrapped, "iter": 3}, tmp_path / "network.pth")
    found = read_checkpoint(tmp_path / "network.pth")
    assert found.description.backbone == "spandrel:Compact"


def test_spandrel_loads_without_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "spandrel"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torchvision", None)  # as if it were not installed
    assert spandrel_networks.is_installed()
    assert sys.modules["torchvision"] is None


def test_without_spandrel_the_refusal_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "spandrel", None)
    file = saved(TILED["Compact"][0](), tmp_path / "network.pth")
    ended = export("--ckpt", file, "-o", tmp_path / "b")
    assert_refused(ended, 2, r"pip install 'pcsr\[spandrel\]'")
