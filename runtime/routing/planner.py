"""Presets, budgets and bounds of loss: from what a caller wants to how an image is routed, by what
pcsr-calibrate operating-point wrote into the bundle.
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypedDict

from pcsr.bundle import Bundle
from pcsr.errors import UsageError

from .feedback import Feedback, Ready
from .operating_point import OperatingPoint
from .rule import Mode
from .time_model import Key, TimeModel, Work

Size = tuple[int, int]
WorkOf = Callable[[Size, float], Work]


class Wishes(TypedDict, total=False):
    """The options of a call that need a calibration; see `Wish`."""

    preset: str | None
    budget_ms: float | None
    max_psnr_loss_db: float | None
    adaptive_budget: bool | None


@dataclass(frozen=True)
class Wish:
    """What a caller asks for, at most one of these. k counts where it is not 0; k = 0 and None are
    the classifier's own choice. adaptive_budget belongs to budget_ms; None: as by default.
    """

    k: float | None = None
    adaptive: bool = False
    heavy_ratio: float | None = None
    preset: str | None = None
    budget_ms: float | None = None
    max_psnr_loss_db: float | None = None
    adaptive_budget: bool | None = None

    def __post_init__(self) -> None:
        named = {
            "k": self.k or None,
            "adaptive": self.adaptive or None,
            "heavy_ratio": self.heavy_ratio,
            "preset": self.preset,
            "budget_ms": self.budget_ms,
            "max_psnr_loss_db": self.max_psnr_loss_db,
        }
        given = [name for name, value in named.items() if value is not None]
        if len(given) > 1:
            self._refuse_both(given)
        self._check_numbers()

    def _refuse_both(self, given: list[str]) -> None:
        if set(given) <= {"k", "adaptive", "heavy_ratio"}:
            Mode(self.k or 0.0, self.adaptive, self.heavy_ratio)
        raise UsageError(f"{' and '.join(given)} exclude each other; choose one")

    def _check_numbers(self) -> None:
        budget, loss = self.budget_ms, self.max_psnr_loss_db
        if budget is not None and not 0 < budget < math.inf:
            raise UsageError(f"budget_ms must be a number of milliseconds above 0, found {budget}")
        if loss is not None and not 0 <= loss < math.inf:
            raise UsageError(f"max_psnr_loss_db must be a number of dB from 0 on, found {loss}")

    @property
    def is_empty(self) -> bool:
        """Whether the default decides."""
        return self == Wish(adaptive_budget=self.adaptive_budget)

    @property
    def needs_calibration(self) -> bool:
        """Whether the bundle must hold an operating point."""
        calibrated = (self.preset, self.budget_ms, self.max_psnr_loss_db)
        return any(value is not None for value in calibrated)


@dataclass(frozen=True)
class Plan:
    """How one image is routed, and what is learnt from the time that it takes."""

    mode: Mode
    predicted_ms: float = 0.0
    shape: Any = None
    feedback: Feedback | None = None

    @property
    def is_watched(self) -> bool:
        """Whether the time of the frame is wanted."""
        return self.feedback is not None

    def took(self, ready: Ready) -> None:
        """ready: see `Feedback.expect`."""
        if self.feedback is not None:
            self.feedback.expect(self.shape, self.predicted_ms, ready)


@dataclass
class Planner:
    """Plans for the images of one `Upscaler`. default: where a call asks for nothing. work: what an
    image of a size and scale amounts to. keys: gives the key of the times by where arrays are.
    """

    bundle: Bundle
    default: Wish
    work: WorkOf
    key: Callable[[str], Key]
    feedback: Feedback = field(default_factory=Feedback)
    _loaded: OperatingPoint | None = None
    _has_warned: bool = False

    def wish(self, asked: Wish) -> Wish:
        """What counts of a call's wish and the default; checks that the bundle can fulfil it.

        Raises:
            UsageError: it cannot, or adaptive_budget has no budget.
            BundleError: the operating point is damaged.
        """
        wish = self.default if asked.is_empty else asked
        if wish.needs_calibration:
            self._check(wish)
        if asked is not self.default and asked.adaptive_budget and wish.budget_ms is None:
            raise UsageError("adaptive_budget needs budget_ms; give a budget, or leave it out")
        return wish

    def is_adaptive(self, asked: Wish) -> bool:
        """Whether budgets are corrected by the times of the frames before."""
        given = asked.adaptive_budget
        return bool(self.default.adaptive_budget if given is None else given)

    def plan(
        self, asked: Wish, scale: float, size: Size, arrays: str = "host", images: int = 1
    ) -> Plan:
        """For an image of (height, width). images: 2 where alpha is upscaled too.

        Raises:
            UsageError: the budget is too small for light pixels alone; it says what that takes.
        """
        wish = self.wish(asked)
        if wish.preset is not None:
            return Plan(Mode(k=self.point.preset(wish.preset)))
        if wish.max_psnr_loss_db is not None:
            return Plan(Mode(k=self.point.lightest(wish.max_psnr_loss_db)))
        if wish.budget_ms is None:
            return Plan(Mode(wish.k or 0.0, wish.adaptive, wish.heavy_ratio))
        model = self.point.time_model(self.key(arrays), self.bundle)
        return self._within(wish.budget_ms, model, (size, scale, images), self.is_adaptive(asked))

    @property
    def point(self) -> OperatingPoint:
        """The bundle's, read once."""
        if self._loaded is None:
            self._loaded = OperatingPoint.load(self.bundle)
        return self._loaded

    def _check(self, wish: Wish) -> None:
        if self.bundle.upsamplers < 2:
            raise UsageError(
                f"{self.bundle.path} has nothing to route (preset, budget_ms, max_psnr_loss_db); "
                "export a PCSR checkpoint with two or more upsamplers for that"
            )
        point = self.point
        if wish.preset is not None:
            point.preset(wish.preset)
        if wish.budget_ms is not None:
            point.time_model(self.key("host"), self.bundle)

    def _within(
        self, budget_ms: float, model: TimeModel, shape: tuple[Size, float, int], adaptive: bool
    ) -> Plan:
        size, scale, images = shape
        work = self.work(size, scale)
        factor = images * (self.feedback.factor if adaptive else 1.0)
        ratio = model.ratio_within(budget_ms / factor, work)
        if ratio is None:
            least_ms = factor * model.safe_ms(work, 0.0)
            ratio = self._least(budget_ms, least_ms, (size, scale), adaptive)
        predicted_ms = images * model.usual_ms(work, ratio)
        return Plan(
            Mode(heavy_ratio=ratio), predicted_ms, shape, self.feedback if adaptive else None
        )

    def _least(
        self, budget_ms: float, least_ms: float, shape: tuple[Size, float], adaptive: bool
    ) -> float:
        """All light, where frames before have shown that the budget cannot be held any more."""
        (height, width), scale = shape
        text = (
            f"a budget of {budget_ms:g} ms is too small for {height}x{width} at scale {scale:g}: "
            f"the least time is {least_ms:.3g} ms, without heavy pixels"
        )
        if not (adaptive and self.feedback.has_learnt):
            raise UsageError(text)
        if not self._has_warned:
            self._has_warned = True
            warnings.warn(f"{text}; going on so", RuntimeWarning, stacklevel=2)
        return 0.0
