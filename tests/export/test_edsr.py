"""EDSR: as a plain network with its own tail, and as the backbone of a PCSR."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pcsr import Upscaler
from pcsr.bundle import Bundle
from pcsr.models import PCSR, make_backbone
from pcsr.models.liif import UpsamplerSpec
from tests import checkpoints, tolerances
from tests.checkpoints import Data
from tests.exports import Exports

ARGS: dict[str, Any] = {"n_resblocks": 2, "n_feats": 8}
RADIUS = 1 + 2 * 2 + 1  # head, two blocks of two, the body's last


def plain_edsr(scale: int) -> Data:
    torch.manual_seed(0)
    args = {**ARGS, "scale": scale, "no_upsampling": False}
    network = make_backbone("edsr-baseline", args)
    return {"model": {"name": "edsr-baseline", "args": args, "sd": network.state_dict()}}


def pcsr_on_edsr() -> Data:
    torch.manual_seed(0)
    args = {**ARGS, "no_upsampling": True}
    specs = [UpsamplerSpec((16, 16)), UpsamplerSpec((12,))]
    network = PCSR(make_backbone("edsr-baseline", args), specs, (6,), (0.5,) * 3, (0.5,) * 3)
    data = checkpoints.pcsr_checkpoint(network, "carn")
    data["model"]["args"]["encoder_spec"] = {"name": "edsr-baseline", "args": args}
    return data


@pytest.mark.parametrize(("scale", "tail"), [(2, 2), (3, 2), (4, 2)])
def test_a_plain_edsr_exports_and_runs_in_tiles(scale: int, tail: int, exports: Exports) -> None:
    bundle = Bundle.load(exports.of(plain_edsr(scale)))
    assert (bundle.kind, bundle.manifest.trained_scale) == ("plain", scale)
    assert bundle.manifest.model.mean == (0.5, 0.5, 0.5)
    assert bundle.manifest.model.receptive_radius_px == RADIUS + tail
    image = np.random.default_rng(0).random((61, 47, 3), dtype=np.float32)
    whole = Upscaler(bundle.path, tile_px=1000)(image).image
    assert whole.shape == (61 * scale, 47 * scale, 3)
    tiled = Upscaler(bundle.path, tile_px=16)(image).image
    assert np.abs(tiled - whole).max() <= tolerances.IMAGE_FP32


def test_a_pcsr_on_edsr_exports_and_runs(exports: Exports) -> None:
    path: Path = exports.of(pcsr_on_edsr())
    model = Bundle.load(path).manifest.model
    assert (model.backbone, model.receptive_radius_px) == ("edsr-baseline", RADIUS)
    assert model.std == (0.5, 0.5, 0.5)
    found = Upscaler(path)(np.full((9, 11, 3), 90, np.uint8), 2.5)
    assert found.image.shape == (22, 28, 3)
    assert found.stats.pixels_per_upsampler
