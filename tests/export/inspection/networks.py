"""Networks of random weights to inspect, as files."""

from pathlib import Path
from typing import Any

from torch import nn

from pcsr.models import PCSR, make_backbone
from pcsr.models.liif import UpsamplerSpec
from tests.checkpoints import save


def plain_file(name: str, folder: Path, **args: Any) -> Path:  # noqa: ANN401
    """Saves a plain network of ours, as published."""
    network = make_backbone(name, args)
    model = {"name": name, "args": args, "sd": network.state_dict()}
    return save({"model": model}, folder / f"{name}.pth")


def liif_file(folder: Path) -> Path:
    """Saves LIIF on EDSR-baseline, as its authors train it."""
    args = {"no_upsampling": True}
    spec = UpsamplerSpec((256,) * 4, neighbours=4, base="none", unfold=True)
    network = PCSR(make_backbone("edsr-baseline", args), [spec], None)
    weights = {
        name.replace("heavy_sampler.imnet.", "imnet."): weight
        for name, weight in network.state_dict().items()
    }
    imnet = {"name": "mlp", "args": {"out_dim": 3, "hidden_list": [256] * 4}}
    described = {"encoder_spec": {"name": "edsr-baseline", "args": args}, "imnet_spec": imnet}
    model = {"name": "liif", "args": described, "sd": weights}
    return save({"model": model}, folder / "liif.pth")


class Espcn(nn.Module):
    """Shuffles what its last layer makes: all layers work at the image's resolution."""

    def __init__(self, scale: int = 2) -> None:
        super().__init__()
        self.scale = scale
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())
        self.last = nn.Sequential(nn.Conv2d(4, 3 * scale**2, 3, padding=1), nn.PixelShuffle(scale))

    def forward(self, x: Any) -> Any:  # noqa: ANN401
        return self.last(self.body(x))
