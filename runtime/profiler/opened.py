"""Opened bundles as the profiler calls them, and the one on the CPU."""

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

from pcsr.errors import ImageError
from pcsr.text import one_line

from .cases import Setup, Spec
from .measuring.calls import Answer, Caller, Measurement, timed, upscaler_caller
from .measuring.first_use import FirstUse, first_use
from .measuring.process import DidNotFinish

if TYPE_CHECKING:
    from pcsr.runtime.upscaler import Upscaler


class OpenedBundle:
    """Calls a bundle on the CPU, where a call returns when it is done."""

    least_warm_ups = 2
    """Calls of a new shape until it is at its pace."""

    def __init__(self, setup: Setup) -> None:
        self.upscaler = open_upscaler(setup)
        self._caller = upscaler_caller(self.upscaler)

    def first(self, spec: Spec) -> FirstUse:
        """Makes the first call of a case."""
        opener, arguments = f"{__name__}:{open_caller.__name__}", asdict(spec.setup)
        try:
            return first_use(opener, arguments, spec.picture.pixels, spec.options)
        except DidNotFinish as why:
            text = f"{spec.name}: a call in a process of its own failed: {one_line(str(why))}"
            raise ImageError(text) from why

    def call(self, spec: Spec) -> tuple[float, Answer]:
        """Gives the milliseconds from array to array, and the answer."""
        return timed(partial(self._caller, spec.picture.pixels, spec.options))

    def staged(self, spec: Spec) -> None:
        """Makes a call whose spans are recorded, by who asks for that."""
        self.call(spec)

    def measure(self, spec: Spec) -> Measurement:
        """Takes one turn."""
        host_ms, answer = self.call(spec)
        details = answer.details()
        return Measurement(host_ms, details.stage_ms, host_ms, details.pixels)


OpenedBundles = Mapping[Setup, OpenedBundle]


def open_caller(**setup: Any) -> Caller:  # noqa: ANN401
    """Opens the bundle of a setup, given by its fields, as a caller."""
    return upscaler_caller(open_upscaler(Setup(**setup)))


def open_upscaler(setup: Setup, cuda_graphs: bool = True) -> "Upscaler":
    """Opens the bundle of a setup.

    Raises:
        BundleError, BackendError, EngineError: as `Upscaler`.
    """
    from pcsr.runtime.upscaler import Upscaler

    return Upscaler(**asdict(setup), cuda_graphs=cuda_graphs)
