"""Networks that take only images whose sides are multiples of a number: others are padded."""

from torch import Tensor, nn
from torch.nn import functional


class PaddedNetwork(nn.Module):
    """Maps image [B, C, h, w] of any size -> [B, C, scale*h, scale*w], by a network whose images
    have sides that are multiples of `multiple`, and at least `least`.

    The image is padded at its end, mirrored as far as it goes and its border repeated beyond that,
    and the result cut to size: as spandrel does it.
    """

    def __init__(self, network: nn.Module, scale: int, multiple: int, least: int) -> None:
        super().__init__()
        self.network, self.scale = network, scale
        self.multiple, self.least = multiple, -(-max(1, least) // multiple) * multiple

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        (down, more_down), (right, more_right) = self._missing(height), self._missing(width)
        image = functional.pad(image, (0, right, 0, down), "reflect")
        image = functional.pad(image, (0, more_right, 0, more_down), "replicate")
        out: Tensor = self.network(image)
        return out[..., : height * self.scale, : width * self.scale]

    def _missing(self, length: int) -> tuple[int, int]:
        """Counts pixels to add along a side: those that are mirrored, and the rest."""
        whole = max(self.least, -(-length // self.multiple) * self.multiple)
        mirrored = min(whole - length, length - 1)
        return mirrored, whole - length - mirrored
