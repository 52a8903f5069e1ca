"""Times calls over sizes, scales and shares of heavy pixels, for the cost model."""

import itertools
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np

from pcsr.calibration.work_file import ShowProgress, WorkFile
from pcsr.metrics import Pixels
from pcsr.runtime.upscaler import Upscaler

from .cost_model import TimedCalls

SMALLEST = (80, 120)
LEAST_LARGEST_PX = 720 * 1280
SIZES = 5
RATIOS = (0.0, 0.1, 0.35, 1.0)
HELD_OUT_RATIOS = (0.2, 0.7)
OTHER_SCALE = 1.6  # times smaller
SETTLED_PX = 2**22  # smaller outputs are timed behind one of their own size
WARM_UPS = 3  # on a device: kernels are compiled, the frame is recorded

Size = tuple[int, int]


@dataclass(frozen=True)
class Case:
    """Calls of one kind. held_out: to try the model on, not to fit it to."""

    size: Size
    scale: float
    heavy_ratio: float
    held_out: bool

    @property
    def name(self) -> str:
        """In the work file."""
        return f"times {self.size[0]}x{self.size[1]} {self.scale:g} {self.heavy_ratio:g}"


def cases(scale: float, largest_px: int, halo_px: int | None) -> list[Case]:
    """From small images to one of about largest_px pixels, at the scale and a smaller one."""
    least = max(SMALLEST[0], (halo_px or 0) + 1)
    heights = np.geomspace(least, max(least + 1, (largest_px / 1.5) ** 0.5), 2 * SIZES - 1)
    sizes = [(round(height), round(1.5 * height)) for height in heights]
    other = max(1.0, scale / OTHER_SCALE)
    fitted = [(size, scale, ratio) for size in sizes[::2] for ratio in RATIOS]
    fitted += [(size, other, ratio) for size in sizes[2:-1:4] for ratio in RATIOS if ratio != 0.1]
    tried = [(size, scale, ratio) for size in sizes[1::4] for ratio in HELD_OUT_RATIOS]
    tried += [(sizes[3], other, HELD_OUT_RATIOS[0])]
    return [Case(*case, False) for case in fitted] + [Case(*case, True) for case in tried]


def tiled(images: Sequence[Pixels], size: Size) -> Pixels:
    """[h, w, 3] of the images beside and below each other, mirrored again and again."""
    whole = images[0]
    for image in images[1:]:
        width = min(whole.shape[1], image.shape[1])
        whole = np.concatenate([whole[:, :width], image[:, :width]])
    for axis in (0, 1):
        while whole.shape[axis] < size[axis]:
            whole = np.concatenate([whole, np.flip(whole, axis)], axis)
    return np.ascontiguousarray(whole[: size[0], : size[1]])


@dataclass(frozen=True)
class Clock:
    """What is timed. arrays: `host`, or `device` for images that stay on the GPU."""

    upscaler: Upscaler
    images: Sequence[Pixels]
    refine: bool
    device: str
    arrays: str = "host"

    def measure(
        self, wanted: Sequence[Case], rounds: int, work: WorkFile, show: ShowProgress
    ) -> list[TimedCalls]:
        """Interleaved rounds over all cases; on a GPU, which records frames by shape, over those of
        a shape.
        """
        found = {case: list(work.found.get(self._name(case), [])) for case in wanted}
        steps = list(self._steps(wanted, rounds))
        with show(steps, f"times, images on the {self.arrays}") as watched:
            for case, number in watched:
                if number >= 0 and len(found[case]) > number:
                    continue
                if math.prod(case.size) * case.scale**2 <= SETTLED_PX:
                    self._call(case)
                took_ms = self._call(case)
                if number >= 0:
                    found[case].append(took_ms)
                    work.keep(self._name(case), found[case])
        return [self._sample(case, times) for case, times in found.items()]

    def _name(self, case: Case) -> str:
        return f"{case.name} {self.arrays}"

    def _steps(self, wanted: Sequence[Case], rounds: int) -> Iterator[tuple[Case, int]]:
        """(case, round); warm-ups have negative rounds."""
        on_gpu = self.upscaler.time_key().device != "cpu"
        by_shape = itertools.groupby(
            sorted(wanted, key=lambda case: (case.size, case.scale)) if on_gpu else wanted,
            key=lambda case: (case.size, case.scale) if on_gpu else None,
        )
        for _, group in by_shape:
            block = list(group)
            for number in range(-WARM_UPS if on_gpu else -1, rounds):
                yield from ((case, number) for case in _shuffled(block, number))

    def _call(self, case: Case) -> float:
        image: Any = tiled(self.images, case.size)
        if self.arrays == "device":
            return self._call_on_device(image, case)
        start = perf_counter()
        self.upscaler(image, case.scale, heavy_ratio=case.heavy_ratio, refine=self.refine)
        return 1000 * (perf_counter() - start)

    def _call_on_device(self, image: Pixels, case: Case) -> float:
        import torch

        given = torch.from_numpy(image).to(self.device)
        torch.cuda.synchronize(given.device)
        start = perf_counter()
        self.upscaler(given, case.scale, heavy_ratio=case.heavy_ratio, refine=self.refine)
        torch.cuda.synchronize(given.device)
        return 1000 * (perf_counter() - start)

    def _sample(self, case: Case, times: list[float]) -> TimedCalls:
        work = self.upscaler.work(case.size, case.scale)
        return TimedCalls(case.size, case.scale, case.heavy_ratio, work, tuple(times))


def _shuffled(block: Sequence[Case], number: int) -> list[Case]:
    return random.Random(number).sample(block, len(block))
