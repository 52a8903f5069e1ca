"""A backbone from somebody else's package, found through its entry point by the command."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

from pcsr import Upscaler
from pcsr.models import PCSR
from tests.checkpoints import CLASSIFIER, pcsr_checkpoint, save, upsamplers

MODULE = """
import torch
from torch import nn
from pcsr.models import register_backbone

@register_backbone("widened", mean=(0.5, 0.5, 0.5))
class Widened(nn.Module):
    def __init__(self, nf=8):
        super().__init__()
        self.conv = nn.Conv2d(3, nf, 7, padding=3, bias=False)
        self.norm = nn.BatchNorm2d(nf)

    def forward(self, x):
        return torch.cat([x, torch.relu(self.norm(self.conv(x)))], dim=1)
"""
EXPORT = "from pcsr.export.cli import main; main()"


def install(folder: Path) -> dict[str, str]:
    """A package with an entry point, as pip would leave it; returns the environment to use it."""
    (folder / "widened_net.py").write_text(MODULE)
    metadata = folder / "widened_net-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: widened-net\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[pcsr.backbones]\nwidened = widened_net\n")
    paths = [str(folder), str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def test_a_backbone_of_another_package_is_exported(tmp_path: Path) -> None:
    environment = install(tmp_path)
    namespace: dict[str, type] = {}
    exec(MODULE, namespace)
    torch.manual_seed(0)
    network = PCSR(namespace["Widened"](nf=6), upsamplers(2), CLASSIFIER).eval()
    data = pcsr_checkpoint(network, "fsrcnn")
    data["model"]["args"]["encoder_spec"] = {"name": "widened", "args": {"nf": 6}}
    ckpt = save(data, tmp_path / "widened.pth")

    command = [sys.executable, "-c", EXPORT, "--ckpt", str(ckpt), "-o", str(tmp_path / "bundle")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

    upscaler = Upscaler(tmp_path / "bundle")
    model = upscaler.bundle.manifest.model
    assert (model.backbone, model.feature_width, model.receptive_radius_px) == ("widened", 9, 3)
    assert model.mean == (0.5, 0.5, 0.5)
    image = np.random.default_rng(0).random((7, 9, 3), dtype=np.float32)
    network.mean.fill_(0.5)
    expected = network(torch.from_numpy(image).permute(2, 0, 1)[None], 2.5).image[0]
    np.testing.assert_allclose(
        upscaler(image, 2.5).image, expected.permute(1, 2, 0).numpy(), atol=2e-5
    )
