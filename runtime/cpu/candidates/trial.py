"""The trial of runners: each computes the same small image, and the fastest that is right is taken.

A remembered outcome saves it; see `pcsr.runtime.trials.memory`.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from pcsr.bundle import Bundle
from pcsr.errors import BundleError
from pcsr.runtime.cpu.pipeline import FloatArray, Runner, Size
from pcsr.runtime.machine import waited_s
from pcsr.runtime.trials.outcome import TrialOutcome, reason_of

MACS = 2.5e9
"""Of the image that is tried: 20 to 50 ms on two cores, as much as the order of the candidates
needs to be that of larger images."""
LEAST_SIDE, MOST_SIDE = 48, 192
RATIO = 1.52  # at 256x192, OpenVINO takes three times as long for FSRCNN as at 420x276
NEAR = 1.1
"""How much longer the preferred one may take than the fastest."""
MOST_WAITING = 0.1
"""How much of a trial's time threads may wait for a core; beside one busy process it is half."""
TIME_S, LEAST_ROUNDS, MOST_ROUNDS = 0.1, 3, 12

Open = Callable[[], Runner]


@dataclass(frozen=True)
class Bound:
    """How far a result may be from the expected one, relative to that: its root mean square, and
    its largest value.
    """

    mean: float
    largest: float


BOUNDS = {
    # CARN: 1.1 % in the mean; FSRCNN with published weights: 3.0 %, 2.8 % of the largest value.
    "bf16": Bound(0.06, 0.1),
    # Roundings that fall the other way are worth a level of 8 bits each.
    "int8": Bound(0.05, 0.25),
}


@dataclass(frozen=True)
class Probe:
    """An image with what an image graph should make of it, within rounding."""

    role: str
    output: str
    image: FloatArray
    expected: FloatArray
    bound: Bound

    @classmethod
    def of(cls, bundle: Bundle, reference: Runner, precision: str) -> "Probe":
        """Makes the image for a bundle, and has the reference compute it."""
        role, output = bundle.image_role, bundle.image_output
        image = synthetic_image(probe_size(bundle.manifest.costs.backbone_macs))
        (expected,) = reference.run_image(role, image, (output,))
        if not np.isfinite(expected).all():
            raise BundleError(f"{bundle.path}: the {role} gives NaN or infinite values")
        return cls(role, output, image, np.array(expected), BOUNDS[precision])

    def run(self, runner: Runner) -> FloatArray:
        """Runs the image."""
        (found,) = runner.run_image(self.role, self.image, (self.output,))
        return found

    def difference(self, found: FloatArray) -> str:
        """Says why this is not the expected result, or ""."""
        expected = self.expected
        if found.shape != expected.shape or found.dtype != expected.dtype:
            return f"{found.dtype} {list(found.shape)} in place of {list(expected.shape)}"
        gap = np.abs(found - expected)
        mean = math.sqrt(_mean_square(gap) / max(_mean_square(expected), 1e-30))
        largest = float(gap.max() / max(float(np.abs(expected).max()), 1e-30))
        is_right = mean <= self.bound.mean and largest <= self.bound.largest
        return "" if is_right else f"wrong by {mean:.2g} in the mean, {largest:.2g} at most"


def opened(candidates: Mapping[str, Open]) -> tuple[dict[str, Runner], dict[str, str]]:
    """Opens candidates; also says why others cannot be opened, by name."""
    runners: dict[str, Runner] = {}
    dropped: dict[str, str] = {}
    for name, make in candidates.items():
        try:
            runners[name] = make()
        except Exception as error:  # of libraries of others; damaged bundles fail in the reference
            dropped[name] = reason_of(error)
    return runners, dropped


def tried(runners: Mapping[str, Runner], probe: Probe, preferred: str = "") -> TrialOutcome:
    """Tries runners, in turns. Those that fail or are not right are dropped; the winner is "" where
    none is left, and `preferred` where that is about as fast as the fastest.
    """
    dropped = {name: why for name, one in runners.items() if (why := _wrong(one, probe))}
    right = {name: one for name, one in runners.items() if name not in dropped}
    times: dict[str, float] = dict.fromkeys(right, math.inf)
    waited_before_s, began_s, rounds = waited_s(), time.perf_counter(), 0
    while right and rounds < MOST_ROUNDS:
        if rounds >= LEAST_ROUNDS and time.perf_counter() - began_s > TIME_S:
            break
        rounds += 1
        for name, runner in right.items():
            times[name] = min(times[name], _time_ms(runner, probe))
    waiting = (waited_s() - waited_before_s) / max(time.perf_counter() - began_s, 1e-9)
    return TrialOutcome(_fastest(times, preferred), times, dropped, waiting > MOST_WAITING)


def _fastest(times_ms: Mapping[str, float], preferred: str) -> str:
    fastest = min(times_ms, key=lambda name: times_ms[name], default="")
    is_near = preferred in times_ms and times_ms[preferred] <= NEAR * times_ms[fastest]
    return preferred if is_near else fastest


def probe_size(macs_per_px: float) -> Size:
    """Gives the (height, width) of an image that amounts to about `MACS`, within bounds."""
    side = math.sqrt(MACS / max(macs_per_px, 1.0) / RATIO)
    height = round(min(MOST_SIDE, max(LEAST_SIDE, side)))
    return height, round(height * RATIO)


def synthetic_image(size: Size) -> FloatArray:
    """Makes an image [1, 3, h, w] with edges, slopes and some noise."""
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
    phases = np.arange(3, dtype=np.float32)[:, None, None]
    waves = np.sin(x / 7 + phases) * np.cos(y / 11 - phases) + np.sign(np.sin((x + 2 * y) / 19))
    noise = np.random.default_rng(0).random((3, *size), dtype=np.float32)
    image: FloatArray = (0.5 + 0.2 * waves + 0.1 * (noise - 0.5))[None].astype(np.float32)
    return np.ascontiguousarray(image)


def _wrong(runner: Runner, probe: Probe) -> str:
    """Says why a runner is not taken, or ""."""
    try:
        return probe.difference(probe.run(runner))
    except Exception as error:  # of libraries of others
        return reason_of(error)


def _time_ms(runner: Runner, probe: Probe) -> float:
    began_s = time.perf_counter()
    probe.run(runner)
    return 1e3 * (time.perf_counter() - began_s)


def _mean_square(values: FloatArray) -> float:
    return float(np.square(values, dtype=np.float64).mean())
