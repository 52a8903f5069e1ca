"""The runner of backend `tensorrt` runs the engines of a bundle."""

import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

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
        self._local = threading.local()
        self._image_role = next(role for role in IMAGE_OUTPUTS if role in plans.plans)
        self._engine(self._image_role)

    @contextmanager
    def using(self, owner: object) -> Iterator[None]:
        """Lets this thread's calls in the body run in execution contexts of `owner`, which go with
        it. Other calls run in those of their thread.
        """
        before, self._local.owner = self._owner, owner
        try:
            yield
        finally:
            self._local.owner = before

    def refusal(self, owner: object) -> str | None:
        """Says why what `owner` ran may not be recorded on the current stream; None where it
        may.
        """
        stream = torch.cuda.current_stream(self.device).cuda_stream
        reasons = (engine.refusal(owner, stream) for engine in self._engines.values())
        return next(filter(None, reasons), None)

    def image(self, image: Tensor) -> Tensor:
        """Runs the image's engine; raises EngineError for a size outside the profile, too."""
        size = image.shape[2], image.shape[3]
        if not self.profile.takes(size):
            raise EngineError(
                f"an image of {format_size(size)} is outside the sizes {self.profile} of these "
                "engines; tile it, or run pcsr-build with other sizes"
            )
        with torch.cuda.device(self.device):
            return self._engine(self._image_role).run({"image": image}, self._owner)

    def rows(
        self, role: str, features: Tensor, index: Tensor, offset: Tensor, cell: Tensor
    ) -> Tensor:
        """Runs `classifier` or `upsampler_j`; N = 0 runs nothing."""
        with torch.cuda.device(self.device):
            engine = self._engine(role)
            if index.shape[0] == 0:
                return engine.empty()
            inputs = zip(ROW_INPUTS, (features, index, offset, cell), strict=True)
            return engine.run(dict(inputs), self._owner)

    @property
    def _owner(self) -> object:
        """Whose execution contexts this thread uses now."""
        owner: object = vars(self._local).setdefault("owner", _Thread())
        return owner

    def _engine(self, role: str) -> Engine:
        with self._loading:
            if role not in self._engines:
                host_code = self._plans.record.facts.options.version_compatible
                is_image = role == self._image_role  # rows come in any number, and are not recorded
                with torch.cuda.device(self.device):
                    plan, cache = self._plans.plans[role], self._cache_file(role)
                    self._engines[role] = Engine(
                        self._library, plan, role, host_code, is_image, cache
                    )
            return self._engines[role]

    def _cache_file(self, role: str) -> Path:
        """Names the file beside the engine for what TensorRT-RTX makes of it on this GPU."""
        gpu = torch.cuda.get_device_name(self.device)
        slug = re.sub(r"[^a-z0-9]+", "-", gpu.lower()).strip("-")
        return self._plans.folder / f"{role}.{slug}.cache"


class _Thread:
    """Owns the execution contexts of a thread's calls outside `TensorRTRunner.using`."""
