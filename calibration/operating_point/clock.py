"""Times calls over sizes, scales and shares of heavy pixels, for the cost model."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from pcsr.calibration.work_file import ShowProgress, WorkFile
from pcsr.metrics import Pixels
from pcsr.runtime.profiler.measuring.calls import timed
from pcsr.runtime.profiler.measuring.rounds import Pace, turns
from pcsr.runtime.upscaler import Upscaler

from .cost_model import TimedCalls

SMALLEST = (80, 120)
LEAST_HEIGHT = 8
LEAST_LARGEST_PX = 720 * 1280
SIZES = 5
RATIOS = (0.0, 0.1, 0.35, 1.0)
HELD_OUT_RATIOS = (0.2, 0.7)
OTHER_SCALE = 1.6  # times smaller
SETTLED_PX = 2**22  # smaller outputs are timed behind one of their own size
WARM_UPS = 3  # on a device: kernels are compiled, the frame is recorded

Size = tuple[int, int]


@dataclass(frozen=True)
class CallKind:
    """Calls of one kind share a size, a scale and a share of heavy pixels."""

    size: Size
    """(height, width) of the input."""
    scale: float
    heavy_ratio: float
    held_out: bool
    """Whether it is to try the model on, not to fit it to."""


def call_kinds(scale: float, largest_px: int, halo_px: int | None) -> list[CallKind]:
    """Lists small images to one of about largest_px pixels, at the scale and a smaller one."""
    sizes = _sizes((largest_px / 1.5) ** 0.5, (halo_px or 0) + 1)
    other = max(1.0, scale / OTHER_SCALE)
    if other == scale:
        other = scale * OTHER_SCALE
    fitted = [(size, scale, ratio) for size in sizes[::2] for ratio in RATIOS]
    fitted += [(size, other, ratio) for size in sizes[2:-1:4] for ratio in RATIOS if ratio != 0.1]
    tried = [(size, scale, ratio) for size in sizes[1::4] for ratio in HELD_OUT_RATIOS]
    tried += [(sizes[3], other, HELD_OUT_RATIOS[0])]
    return [CallKind(*kind, False) for kind in fitted] + [CallKind(*kind, True) for kind in tried]


def _sizes(most: float, reach: int) -> list[Size]:
    """Lists 2 SIZES - 1 different sizes, the heights to about `most` in equal ratios. A `most` that
    leaves no room above SMALLEST has smaller ones, but none below what the network looks around.
    """
    count = 2 * SIZES - 1
    least = SMALLEST[0] if most >= SMALLEST[0] + count else max(LEAST_HEIGHT, most / 4)
    heights: list[int] = []
    least = max(least, reach)
    for height in np.geomspace(least, max(least + count, most), count):
        heights.append(max(round(height), heights[-1] + 1 if heights else 1))
    return [(height, round(1.5 * height)) for height in heights]


def tiled(images: Sequence[Pixels], size: Size) -> Pixels:
    """Makes [h, w, 3] of images beside and below each other, mirrored again and again."""
    whole = images[0]
    for image in images[1:]:
        width = min(whole.shape[1], image.shape[1])
        whole = np.concatenate([whole[:, :width], image[:, :width]])
    for axis in (0, 1):
        while whole.shape[axis] < size[axis]:
            whole = np.concatenate([whole, np.flip(whole, axis)], axis)
    return np.ascontiguousarray(whole[: size[0], : size[1]])


@dataclass(frozen=True)
class CallTimes:
    """Times calls of a bundle."""

    upscaler: Upscaler
    images: Sequence[Pixels]
    refine: bool
    device: str
    arrays: str = "host"
    """`host`, or `device` for images that stay on the GPU."""

    def measure(
        self, wanted: Sequence[CallKind], rounds: int, work: WorkFile, show: ShowProgress
    ) -> list[TimedCalls]:
        """Makes interleaved rounds over all kinds; on a GPU, which records frames, by shape."""
        found = {kind: list(work.found.get(self._name(kind), [])) for kind in wanted}
        with show(list(self._turns(wanted, rounds)), f"times, images on the {self.arrays}") as todo:
            for kind, number in todo:
                if number >= 0 and len(found[kind]) > number:
                    continue
                if math.prod(kind.size) * kind.scale**2 <= SETTLED_PX:
                    self._call_ms(kind)
                took_ms = self._call_ms(kind)
                if number >= 0:
                    found[kind].append(took_ms)
                    work.keep(self._name(kind), found[kind])
        return [self._sample(kind, found[kind]) for kind in wanted]

    def _name(self, kind: CallKind) -> str:
        """Names it in the work file."""
        height, width = kind.size
        return f"times {height}x{width} {kind.scale:g} {kind.heavy_ratio:g} {self.arrays}"

    def _turns(self, wanted: Sequence[CallKind], rounds: int) -> Iterator[tuple[CallKind, int]]:
        if self.upscaler.time_key().device == "cpu":
            yield from turns(wanted, Pace(rounds, warm_ups=1))
            return
        for shape in sorted({(kind.size, kind.scale) for kind in wanted}):
            block = [kind for kind in wanted if (kind.size, kind.scale) == shape]
            yield from turns(block, Pace(rounds, warm_ups=WARM_UPS))

    def _call_ms(self, kind: CallKind) -> float:
        options: dict[str, Any] = {"heavy_ratio": kind.heavy_ratio, "refine": self.refine}
        image: Any = tiled(self.images, kind.size)
        if self.arrays == "host":
            return timed(partial(self.upscaler, image, kind.scale, **options))[0]
        import torch

        image = torch.from_numpy(image).to(self.device)
        wait = partial(torch.cuda.synchronize, image.device)
        wait()
        return timed(lambda: (self.upscaler(image, kind.scale, **options), wait()))[0]

    def _sample(self, kind: CallKind, times: list[float]) -> TimedCalls:
        work = self.upscaler.work(kind.size, kind.scale)
        return TimedCalls(kind.size, kind.scale, kind.heavy_ratio, work, tuple(times))
