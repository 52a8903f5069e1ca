"""The runner of backend `tensorrt` runs the engines of a bundle."""

import threading
from collections.abc import Sequence

import torch
from torch import Tensor

from pcsr.errors import EngineError
from pcsr.manifest import IMAGE_OUTPUTS, ROW_INPUTS

from .engine import Engine
from .library import Library
from .plans import PlanSet
from .profiles import format_size


class TensorRTRunner:
    """Runs the engines of one bundle on one GPU, for tensors there, queued on PyTorch's current
    stream (not the default one). Any number of threads may call it at once.

    The engine of the image is loaded now, the others when they are first called. Attributes and
    methods are those of `DeviceRunner`; `device` is `cuda:N`.

    Raises:
        EngineError: TensorRT does not take a plan, a tensor's type or device, or it fails.
    """

    capturable = True
    choices: Sequence[str] = ()

    def __init__(self, library: Library, plans: PlanSet, device: str) -> None:
        facts = plans.record.facts
        self.device = torch.device(device)
        self.profile = facts.profile
        self.image_least = facts.profile.min
        self.image_limit: tuple[int, int] | None = facts.profile.max
        least, _, most = facts.profile.pixel_counts
        self.map_limits: tuple[int, int] | None = (least, most)
        self.rows_limit = facts.profile.rows_max
        self._library = library
        self._plans = plans
        self._engines: dict[str, Engine] = {}
        self._loading = threading.Lock()
        self._image_role = next(role for role in IMAGE_OUTPUTS if role in plans.plans)
        self._engine(self._image_role)

    def image(self, image: Tensor) -> Tensor:
        """Runs the image's engine; raises EngineError for a size outside the profile, too."""
        size = image.shape[2], image.shape[3]
        if not self.profile.takes(size):
            raise EngineError(
                f"an image of {format_size(size)} is outside the sizes {self.profile} of these "
                "engines; tile it, or run pcsr-build with other sizes"
            )
        with torch.cuda.device(self.device):
            return self._engine(self._image_role).run({"image": image})

    def rows(
        self, role: str, features: Tensor, index: Tensor, offset: Tensor, cell: Tensor
    ) -> Tensor:
        """Runs `classifier` or `upsampler_j`; N = 0 runs nothing."""
        with torch.cuda.device(self.device):
            engine = self._engine(role)
            if index.shape[0] == 0:
                return engine.empty()
            inputs = zip(ROW_INPUTS, (features, index, offset, cell), strict=True)
            return engine.run(dict(inputs))

    def _engine(self, role: str) -> Engine:
        with self._loading:
            if role not in self._engines:
                host_code = self._plans.record.facts.options.version_compatible
                with torch.cuda.device(self.device):
                    plan = self._plans.plans[role]
                    self._engines[role] = Engine(self._library, plan, role, host_code)
            return self._engines[role]
