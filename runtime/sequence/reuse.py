"""What makes a result of a frame and of the one before: one class for each way to know what of it
changed.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from numpy.typing import NDArray

from pcsr.runtime.cpu.upscaler import HostUpscaler
from pcsr.runtime.geometry.tiling import Window
from pcsr.runtime.layout import Layout
from pcsr.runtime.process.memory import ReusedMemory

from .calls import Call, Clock
from .made import Made, Patched, Versions
from .patches import Patches, reader

Pixels = NDArray[Any]


class Reuse(Protocol):
    """Computes the frames of one size, one after the other."""

    @property
    def halo_px(self) -> int | None:
        """How far the network looks around an input pixel; None where only whole frames are
        computed.
        """

    @property
    def crop_px(self) -> int:
        """The most input pixels that are computed at one time, halos included."""

    def whole(self, frame: Pixels, call: Call, clock: Clock) -> Made:
        """Computes a frame."""

    def changed(
        self, frame: Pixels, windows: Sequence[Window], before: Made, call: Call, clock: Clock
    ) -> tuple[Made, float]:
        """Computes what depends on some windows of a frame, where alone it differs from the one
        before. Also gives the share of the output in [0, 1] that is the one before's.
        """


class WholeFrames:
    """Computes whole frames, as an ordinary call."""

    halo_px: int | None = None
    crop_px = 0

    def __init__(self, host: HostUpscaler) -> None:
        self._host = host

    def whole(self, frame: Pixels, call: Call, clock: Clock) -> Made:
        cancellation = clock.watch.cancellation
        result = self._host(frame, call.scale, call.request, cancellation=cancellation)
        clock.add(result.stats.stage_ms)
        return Made.of(result)

    def changed(
        self, frame: Pixels, windows: Sequence[Window], before: Made, call: Call, clock: Clock
    ) -> tuple[Made, float]:
        return self.whole(frame, call, clock), 0.0


class PatchedFrames(WholeFrames):
    """Puts what changed on the result before, or on a copy of it where somebody holds it."""

    def __init__(self, host: HostUpscaler, patches: Patches) -> None:
        super().__init__(host)
        self._patches, self._versions = patches, Versions(host.workers, ReusedMemory())
        self.halo_px, self.crop_px = patches.halo_px, patches.crop_px

    def changed(
        self, frame: Pixels, windows: Sequence[Window], before: Made, call: Call, clock: Clock
    ) -> tuple[Made, float]:
        layout, watch = Layout.of(frame), clock.watch
        with watch.stage("copy"):
            patched = Patched(before, layout, self._versions)
        read = reader(frame, layout)
        for patch in self._patches.patches(read, windows, layout.working_dtype, watch):
            with watch.stage("copy"):
                patched.put(patch)
        return patched.done(), patched.reused_share
