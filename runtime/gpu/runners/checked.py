"""The runner that stands in front of every other: what it gives was checked."""

from contextlib import AbstractContextManager

from torch import Tensor

from pcsr.bundle import Bundle
from pcsr.runtime.graph_outputs import GraphOutputs

from .protocol import DeviceRunner


class CheckedDeviceRunner(DeviceRunner):
    """Runs graphs with another runner, and raises BundleError where the results are not what the
    bundle's manifest promises: kernels read them. Only shapes and types are looked at, so nothing
    waits for the device.
    """

    def __init__(self, runner: DeviceRunner, bundle: Bundle, precision: str) -> None:
        self._runner, self._expected = runner, GraphOutputs(bundle, precision)
        self._name = bundle.image_output
        self.device, self.capturable = runner.device, runner.capturable
        self.image_least, self.image_limit = runner.image_least, runner.image_limit
        self.choices = runner.choices
        self.rows_limit, self.map_limits = runner.rows_limit, runner.map_limits

    def image(self, image: Tensor) -> Tensor:
        size = image.shape[2], image.shape[3]
        self._expected.foresee(size)
        values = self._runner.image(image)
        self._expected.check_image(size, [self._name], [values])
        return values

    def rows(
        self, role: str, features: Tensor, index: Tensor, offset: Tensor, cell: Tensor
    ) -> Tensor:
        values = self._runner.rows(role, features, index, offset, cell)
        self._expected.check_rows(role, len(index), values, "float32")
        return values

    def using(self, owner: object) -> AbstractContextManager[None]:
        return self._runner.using(owner)

    def refusal(self, owner: object) -> str | None:
        return self._runner.refusal(owner)
