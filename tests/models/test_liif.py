"""LIIF networks: what a checkpoint describes, and what the authors' code computed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pcsr import CheckpointError
from pcsr.export.network import NetworkSettings, build_network
from pcsr.models import PCSR, make_backbone
from pcsr.models.checkpoint import describe, read_checkpoint
from pcsr.models.liif import UpsamplerSpec
from tests.checkpoints import liif_checkpoint, save
from tests.conftest import REFERENCE

PUBLISHED = REFERENCE / "checkpoints" / "edsr-baseline-liif.pth"
GOLDEN = sorted((REFERENCE / "golden").glob("liif_*.npz"))


def network_of(data: Any, tmp_path: Path) -> PCSR:  # noqa: ANN401
    network = build_network(read_checkpoint(save(data, tmp_path / "liif.pth")), NetworkSettings())
    assert isinstance(network, PCSR)
    return network


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_the_model_computes_what_the_authors_code_did(path: Path, tmp_path: Path) -> None:
    data = torch.load(PUBLISHED, weights_only=True)
    data["model"]["args"]["local_ensemble"] = "no_ensemble" not in path.stem
    golden = np.load(path)
    image = torch.from_numpy(golden["lr_u8"]).permute(2, 0, 1)[None].float() / 255
    found = network_of(data, tmp_path)(image, scale=float(golden["scale"])).image[0]
    np.testing.assert_allclose(found.permute(1, 2, 0), golden["image"], atol=2e-6, rtol=0)


@pytest.mark.skipif(not GOLDEN, reason="needs ../shared/golden")
def test_the_golden_files_are_of_both_forms() -> None:
    assert {"no_ensemble" in path.stem for path in GOLDEN} == {True, False}


@pytest.mark.parametrize("name", ["local_ensemble", "feat_unfold", "cell_decode"])
def test_each_part_is_on_unless_the_checkpoint_says_otherwise(name: str) -> None:
    model = liif_checkpoint()["model"]
    on = describe(model["name"], model["args"])
    assert on.upsamplers == (UpsamplerSpec((16, 16), 4, "none", unfold=True, cell=True),)
    off = describe(model["name"], model["args"] | {name: False})
    changed = {"local_ensemble": "neighbours", "feat_unfold": "unfold", "cell_decode": "cell"}
    before, after = vars(on.upsamplers[0]), vars(off.upsamplers[0])
    assert [key for key in before if before[key] != after[key]] == [changed[name]]
    assert after[changed[name]] in (False, 1)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"local_ensemble": "yes"}, "local_ensemble is 'yes', expected true or false"),
        ({"imnet_spec": {"name": "siren", "args": {}}}, "expected a plain mlp"),
        ({"encoder_spec": {"name": "swinir-light"}}, "unknown backbone 'swinir-light'"),
        ({"base": "bicubic"}, "base is 'bicubic', expected bilinear or none"),
    ],
)
def test_other_descriptions_are_refused(
    change: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    data = liif_checkpoint()
    data["model"]["args"] |= change
    with pytest.raises(CheckpointError, match=reason):
        network_of(data, tmp_path)


def test_wrapped_weights_and_mean_shifts_of_the_encoder(tmp_path: Path) -> None:
    data = liif_checkpoint()
    image = torch.rand(1, 3, 5, 6, generator=torch.Generator().manual_seed(1))
    expected = network_of(data, tmp_path)(image, 2.0).image
    weights = data["model"]["sd"]
    assert "encoder.sub_mean.weight" in weights
    data["model"]["sd"] = {f"_orig_mod.module.{name}": value for name, value in weights.items()}
    assert torch.equal(network_of(data, tmp_path)(image, 2.0).image, expected)


@pytest.mark.parametrize(
    ("name", "args", "width"),
    [
        ("edsr-baseline", {"n_resblocks": 1, "n_feats": 8}, 8),
        ("edsr", {"n_resblocks": 1, "n_feats": 8}, 8),
        ("rdn", {"G0": 8, "RDNconfig": "A"}, 8),
    ],
)
def test_encoders(name: str, args: dict[str, Any], width: int) -> None:
    image = torch.zeros(1, 3, 5, 6)
    assert make_backbone(name, args | {"no_upsampling": True})(image).shape == (1, width, 5, 6)
    for scale in (2, 3, 4):
        whole = make_backbone(name, args | {"scale": scale})
        assert whole(image).shape == (1, 3, 5 * scale, 6 * scale)


def test_encoders_are_as_large_as_published() -> None:
    def count(name: str) -> int:
        network = make_backbone(name, {"no_upsampling": True})
        return sum(weight.numel() for weight in network.parameters())

    assert [count(name) for name in ("edsr-baseline", "edsr", "rdn")] == [
        1_220_416,
        38_362_368,
        21_973_952,
    ]
