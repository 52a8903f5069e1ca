"""Resolves what a caller asks for to how an image is routed, by the operating point that
pcsr-calibrate wrote into the bundle.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

from pcsr.bundle import Bundle
from pcsr.errors import UsageError

from .checks import check_request
from .feedback import Feedback, Ready
from .operating_point import OperatingPoint
from .request import RoutingRequest
from .time_model import Key, TimeModel, Workload

_LOG = logging.getLogger("pcsr.routing")
Size = tuple[int, int]
WorkOf = Callable[[Size, float], Workload]


class ResolvedRequest(NamedTuple):
    """Describes how one image is routed, and what is learnt from the time that it takes."""

    request: RoutingRequest
    """It names k, ADM or a share of heavy pixels, and nothing that needs a calibration."""
    took: Callable[[Ready], None] | None = None
    """Takes how to ask for the time of the call; None where nobody learns from it."""


@dataclass
class Planner:
    """Resolves the requests of one `Upscaler`."""

    bundle: Bundle
    default: RoutingRequest
    """What counts where a call leaves it open."""
    work: WorkOf
    """Gives the work of an image of a size and scale."""
    key: Callable[[str], Key]
    """Gives the key of the times by where arrays are, `host` or `device`."""
    feedback: Feedback = field(default_factory=Feedback)
    _loaded: OperatingPoint | None = None
    _has_warned: bool = False

    def __post_init__(self) -> None:
        self._check_calibrated(self.default)

    def completed(self, asked: RoutingRequest, scale: float) -> RoutingRequest:
        """Fills in the default and checks that the bundle can do what is then asked.

        Raises:
            UsageError: it cannot, or adaptive_budget has no budget.
            BundleError: the operating point is damaged.
        """
        request = asked.or_else(self.default)
        if request.refine is None:
            request = replace(request, refine=self.bundle.manifest.refine)
        if asked.adaptive_budget and request.budget_ms is None:
            raise UsageError("adaptive_budget needs budget_ms; give a budget, or leave it out")
        self._check_calibrated(request)
        check_request(self.bundle, scale, request)
        return request

    def resolve(
        self,
        request: RoutingRequest,
        scale: float,
        size: Size,
        arrays: str = "host",
        images: int = 1,
    ) -> ResolvedRequest:
        """Resolves a completed request for an image of (height, width). images: 2 where alpha is
        upscaled too.

        Raises:
            UsageError: the budget is too small for light pixels alone; it says what that takes.
        """
        if not request.needs_calibration:
            return ResolvedRequest(request)
        plain = RoutingRequest(refine=request.refine)
        if request.preset is not None:
            return ResolvedRequest(replace(plain, k=self.point.preset(request.preset)))
        if request.max_psnr_loss_db is not None:
            return ResolvedRequest(replace(plain, k=self.point.lightest(request.max_psnr_loss_db)))
        model = self.point.time_model(self.key(arrays), self.bundle)
        return self._within(request, model, (size, scale, images))

    @property
    def point(self) -> OperatingPoint:
        """The operating point of the bundle, read once."""
        if self._loaded is None:
            self._loaded = OperatingPoint.load(self.bundle)
        return self._loaded

    def _check_calibrated(self, request: RoutingRequest) -> None:
        if not request.needs_calibration:
            return
        if self.bundle.upsamplers < 2:
            raise UsageError(
                f"{self.bundle.path} has nothing to route (preset, budget_ms, max_psnr_loss_db); "
                "export a PCSR checkpoint with two or more upsamplers for that"
            )
        point = self.point
        if request.preset is not None:
            point.preset(request.preset)
        if request.budget_ms is not None:
            point.time_model(self.key("host"), self.bundle)

    def _within(
        self, request: RoutingRequest, model: TimeModel, shape: tuple[Size, float, int]
    ) -> ResolvedRequest:
        size, scale, images = shape
        work, budget_ms = self.work(size, scale), request.budget_ms or 0.0
        factor = images * (self.feedback.factor if request.adaptive_budget else 1.0)
        ratio = model.ratio_within(budget_ms / factor, work)
        if ratio is None:
            least_ms = factor * model.safe_ms(work, 0.0)
            ratio = self._least(request, least_ms, (size, scale))
        resolved = RoutingRequest(heavy_ratio=ratio, refine=request.refine)
        took = partial(self.feedback.expect, shape, images * model.usual_ms(work, ratio))
        return ResolvedRequest(resolved, took if request.adaptive_budget else None)

    def _least(self, request: RoutingRequest, least_ms: float, shape: tuple[Size, float]) -> float:
        """Takes no heavy pixel where frames before have shown that the budget cannot be held."""
        (height, width), scale = shape
        text = (
            f"a budget of {request.budget_ms:g} ms is too small for {width}x{height} at scale "
            f"{scale:g}: the least time is {least_ms:.3g} ms, without heavy pixels"
        )
        if not (request.adaptive_budget and self.feedback.has_learnt):
            raise UsageError(text)
        if not self._has_warned:
            self._has_warned = True
            _LOG.warning("%s; going on so", text)
        return 0.0
