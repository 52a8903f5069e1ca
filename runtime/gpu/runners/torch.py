"""The runner of backend `torch` runs graphs in PyTorch."""

import torch
from torch import Tensor

from pcsr.bundle import Bundle
from pcsr.runtime.torch_backend.module import OnnxModule

from .protocol import DeviceRunner


class TorchRunner(DeviceRunner):
    """Runs every graph in PyTorch, on a GPU or the CPU; it needs torch and onnx, nothing else.

    Raises:
        BackendError: a graph holds an operator that is not known here.
        BundleError: no such precision, or a damaged bundle.
    """

    def __init__(self, bundle: Bundle, precision: str, device: torch.device) -> None:
        self.device = device
        self.capturable = device.type == "cuda"
        wanted = {bundle.image_role: [bundle.image_output]}
        self._modules = {
            name: OnnxModule(bundle.graph_bytes(name, precision), device, wanted.get(name))
            for name in bundle.graphs(precision)
        }
        self._image = self._modules.pop(bundle.image_role)

    def image(self, image: Tensor) -> Tensor:
        features: Tensor = self._image(image)[0]
        return features

    def rows(
        self, role: str, features: Tensor, index: Tensor, offset: Tensor, cell: Tensor
    ) -> Tensor:
        values: Tensor = self._modules[role](features, index, offset, cell)[0]
        return values.float()
