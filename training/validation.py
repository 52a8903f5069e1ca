"""Measures PSNR on held-out photos while training."""

from collections.abc import Sequence

import numpy as np
import torch

from pcsr.metrics import Channel, psnr
from pcsr.models import PCSR, PlainNetwork
from pcsr.runtime.layout import RGB8

from .sources.photos import Photo

ALL_HEAVY = -25.0


class Validator:
    """Scores a network on pairs of original and low-resolution photos: mean PSNR in dB, of RGB or
    luma, `scale` pixels shaved.
    """

    def __init__(
        self, pairs: Sequence[tuple[Photo, Photo]], scale: float, channel: Channel = "rgb"
    ) -> None:
        self._pairs = pairs
        self._scale = scale
        self._border = int(np.ceil(scale))
        self._channel: Channel = channel

    def scores(self, network: PCSR | PlainNetwork) -> dict[str, float]:
        """Returns `psnr_db` (k = 0), and of PCSR `psnr_heavy_db`: every pixel by the heaviest."""
        network.eval()
        if isinstance(network, PlainNetwork):
            return {"psnr_db": self._psnr(network)}
        scores = {"psnr_heavy_db": self._psnr(network, ALL_HEAVY)}
        if len(network.upsamplers) > 1:
            scores["psnr_db"] = self._psnr(network, 0.0)
        return scores

    @torch.no_grad()
    def _psnr(self, network: PCSR | PlainNetwork, k: float = 0.0) -> float:
        device = network.mean.device
        scores = []
        for hr, lr in self._pairs:
            batch = torch.from_numpy(lr).to(device).permute(2, 0, 1)[None] / 255
            if isinstance(network, PCSR):
                out = network(batch, self._scale, k).image
            else:
                out = network(batch)
            image = RGB8.from_network(out[0].permute(1, 2, 0).cpu().numpy())
            scores.append(psnr(image, hr, self._border, self._channel))
        return float(np.mean(scores))
