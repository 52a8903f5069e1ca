"""The runner of backend `torch` runs graphs in PyTorch."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from pcsr.bundle import Bundle
from pcsr.errors import BundleError
from pcsr.runtime.torch_backend.module import OnnxModule
from pcsr.text import shortened

from .protocol import DeviceRunner

UNFIT = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


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
        self._path, self._modules = bundle.path, dict[str, OnnxModule]()
        for name in bundle.graphs(precision):
            data = bundle.graph_bytes(name, precision)
            with self._refusing(name):
                self._modules[name] = OnnxModule(data, device, wanted.get(name))
        self.choices = [
            f"{role}: {line}" for role, one in self._modules.items() for line in one.choices
        ]
        self._image = self._modules.pop(bundle.image_role)

    def image(self, image: Tensor) -> Tensor:
        with self._refusing("image"):
            features: Tensor = self._image(image)[0]
        return features

    def rows(
        self, role: str, features: Tensor, index: Tensor, offset: Tensor, cell: Tensor
    ) -> Tensor:
        with self._refusing(role):
            values: Tensor = self._modules[role](features, index, offset, cell)[0]
        return values.float()

    @contextmanager
    def _refusing(self, role: str) -> Iterator[None]:
        """Turns what PyTorch says of a graph whose nodes do not fit together into BundleError."""
        try:
            yield
        except (torch.OutOfMemoryError, torch.AcceleratorError):
            raise
        except UNFIT as error:
            raise BundleError(
                f"{self._path}: PyTorch refuses the {role} graph: {shortened(str(error))}; export "
                "the bundle again"
            ) from error
