"""Opens a bundle on a device."""

from pcsr.bundle import Bundle
from pcsr.runtime.devices import torch_device
from pcsr.runtime.torch_backend.arithmetic import isolated

from .runners.open import open_runner
from .upscaler import DeviceUpscaler


@isolated()
def open_on_device(
    bundle: Bundle,
    backend: str,
    device: str,
    precision: str,
    passes: str,
    tile_px: int | None,
    cuda_graphs: bool,
    may_build: bool,
) -> DeviceUpscaler:
    """Opens a bundle on a device, with arguments and errors as of `Upscaler`."""
    runner = open_runner(backend, bundle, precision, torch_device(device), may_build)
    return DeviceUpscaler(bundle, runner, precision, passes, tile_px, cuda_graphs)
