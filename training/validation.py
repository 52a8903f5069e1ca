"""PSNR on held-out photos while training."""

from collections.abc import Sequence

import numpy as np
import torch

from pcsr.metrics import bicubic_resize, degrade, psnr
from pcsr.models import PCSR
from pcsr.runtime.layout import RGB8

from .data import Photo

ALL_HEAVY = -25.0


class Validator:
    """Scores a network on photos shrunk by bicubic; mean RGB PSNR in dB with a border of the scale
    shaved.
    """

    def __init__(self, photos: Sequence[Photo], scale: float) -> None:
        self._pairs = [degrade(photo, scale) for photo in photos]
        self._scale = scale
        self._border = int(np.ceil(scale))
        self.bicubic_db = self._mean([bicubic_resize(lr, *hr.shape[:2]) for hr, lr in self._pairs])

    def scores(self, network: PCSR) -> dict[str, float]:
        """`psnr_heavy_db` (every pixel by the heaviest), and with more upsamplers `psnr_db` (k =
        0).
        """
        network.eval()
        scores = {"psnr_heavy_db": self._psnr(network, ALL_HEAVY)}
        if len(network.upsamplers) > 1:
            scores["psnr_db"] = self._psnr(network, 0.0)
        return scores

    def _psnr(self, network: PCSR, k: float) -> float:
        device = network.mean.device
        images = []
        for _, lr in self._pairs:
            batch = torch.from_numpy(lr).to(device).permute(2, 0, 1)[None] / 255
            out = network(batch, self._scale, k).image[0].permute(1, 2, 0).cpu().numpy()
            images.append(RGB8.from_network(out))
        return self._mean(images)

    def _mean(self, images: Sequence[Photo]) -> float:
        scores = [
            psnr(image, hr, self._border)
            for image, (hr, _) in zip(images, self._pairs, strict=True)
        ]
        return float(np.mean(scores))
