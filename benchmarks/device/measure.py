"""One model at one size in one precision on a device: the rounds, and every contender's record."""

import gc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import torch

from benchmarks.callers import Files, Place, open_caller
from benchmarks.contenders import AT_SHARE, SCALE, CallOptions, Contender, Implementation
from benchmarks.image import Image, Size
from benchmarks.records import Record
from benchmarks.series import NOT_TIMED, AllSeries, ContenderSeries, k_of_difficulty
from pcsr.bundle import Bundle
from pcsr.runtime.profiler.measuring.calls import Measurement, timed
from pcsr.runtime.profiler.measuring.device import (
    DeviceImages,
    DeviceMemory,
    DeviceMeter,
    make_clock,
)
from pcsr.runtime.profiler.measuring.first_use import FirstUse
from pcsr.runtime.profiler.measuring.rounds import Pace, turns
from pcsr.runtime.profiler.measuring.statistics import (
    by_stage,
    distribution,
    known_distribution,
    paired_ratio,
)
from pcsr.runtime.profiler.work import Work, speed, stage_work, total_work
from pcsr.runtime.torch_backend.capture import free_cached_memory

SLOW_MS = 150.0
SLOW_ROUNDS = 4
IMAGES = 3
SHIFT = (37, 53)

Guard = Callable[[str, Callable[[], Any]], Any]
"""Takes a step under a name; what it raises is raised again, or ends the process."""


@dataclass(frozen=True)
class Effort:
    """Says how often contenders are measured."""

    rounds: int
    host_rounds: int
    """The first so many rounds are also from array to array."""
    warm_ups: int
    """Calls beside the first one; a recording is replayed from the third of all on."""


ON_GPU = Effort(30, 12, 4)
QUICK = Effort(2, 1, 1)


@dataclass(frozen=True)
class DeviceSetting:
    """Says where and how the networks of a model run."""

    files: Files
    precision: str
    device: torch.device
    guard: Guard

    def place(self) -> Place:
        """Gives the same for a caller."""
        return Place(str(self.device), self.precision)


def measure(
    contenders: Sequence[Contender],
    images: Sequence[Image],
    setting: DeviceSetting,
    effort: Effort,
    limit_s: float,
) -> Iterator[Record]:
    """Makes one record per contender; one that failed says why. What is known so far comes as
    records with `partial` true, again and again: the process may end in any round.

    images: of one size. limit_s: when no round begins any more.
    """
    height, width = images[0].shape[:2]
    facts = {"clock": make_clock(setting.device).name, "lr_size": [height, width]}

    def records(everyone: AllSeries, partial: bool) -> Iterator[Record]:
        known = [contender for contender in contenders if contender.name in everyone]
        for contender in known:
            found = _record(contender, everyone, setting, (height, width))
            yield facts | found | ({"partial": True} if partial else {})

    run = _Run(images, setting, effort)
    everyone: AllSeries = {}
    for everyone in run.rounds(contenders, perf_counter() + limit_s):
        yield from records(everyone, partial=True)
    del run
    gc.collect()
    if setting.device.type == "cuda":
        free_cached_memory()
    yield from records(everyone, partial=False)


def views(image: Image) -> list[Image]:
    """Makes a few images with the same content at other places: no cache knows the next one."""
    shifts = [(number * SHIFT[0], number * SHIFT[1]) for number in range(IMAGES)]
    return [np.ascontiguousarray(np.roll(image, shift, (0, 1))) for shift in shifts]


class _Run:
    """Holds callers, opened at their first use, and what was measured of them."""

    def __init__(self, images: Sequence[Image], setting: DeviceSetting, effort: Effort) -> None:
        self._images, self._setting, self._effort = images, setting, effort
        self._clock = make_clock(setting.device)
        self._copies = DeviceImages(setting.device)
        self._meters: dict[Implementation, DeviceMeter] = {}
        self._everyone: dict[str, ContenderSeries] = {}
        for image in images:
            self._copies.copy(image)
        cost = Bundle.load(setting.files.pcsr_bundle).manifest.costs.cost_table(SCALE).tolist()
        self._cost = cost[0], cost[-1]
        self._share_threshold: float | None = None

    def rounds(self, contenders: Sequence[Contender], stop_at: float) -> Iterator[AllSeries]:
        """Times all until the rounds are done or `perf_counter` reaches stop_at; not who fails.
        Gives what is known after the warm-up, after rounds 1, 2, 4, 8 and so on, and at the end.
        """
        for contender in contenders:
            if perf_counter() > stop_at:
                series = ContenderSeries(error="no time was left for it", skipped=True)
                self._everyone[contender.name] = series
            else:
                self._attempt(contender, self._warm_up)
        yield self._everyone
        pace, due = Pace(self._effort.rounds, stop_at=stop_at), 1
        for contender, number in turns(contenders, pace, takes_part=self._takes_part):
            if number == due:
                due *= 2
                yield self._everyone
            self._attempt(contender, partial(self._turn, number=number))
        yield self._everyone

    def _takes_part(self, contender: Contender, number: int) -> bool:
        """Leaves out those with an error, and in later rounds the slow ones."""
        series = self._everyone[contender.name]
        return series.error is None and (number < SLOW_ROUNDS or not series.is_slow)

    def _attempt(self, contender: Contender, step: Callable[[Contender], None]) -> None:
        """Takes one step; its warnings and its error are the contender's."""
        series = self._everyone.setdefault(contender.name, ContenderSeries())
        label = contender.implementation.label
        series.attempt(partial(self._setting.guard, label, partial(step, contender)))

    def _warm_up(self, contender: Contender) -> None:
        """Opens its caller, measures the memory of a first call, and calls it a few times more."""
        series, image = self._everyone[contender.name], self._images[0]
        meter, options = self._meter(contender.implementation), self._options(contender)
        if self._setting.device.type == "cuda":
            free_cached_memory()
        memory = DeviceMemory(self._setting.device)
        first_ms = timed(partial(meter.caller, self._copies.copy(image), options))[0]
        self._clock.wait()
        series.first = FirstUse(first_ms, peak_mib=memory.peak_mib())
        for _ in range(self._effort.warm_ups):
            lap = meter.lap(image, options)[0]  # the result goes at once
            series.is_slow = lap.device_ms > SLOW_MS
            if series.is_slow:
                break
        series.first = replace(series.first, held_mib=memory.held_mib())
        series.details = meter.call(image, options)[1].details()
        if contender.mode == AT_SHARE and self._share_threshold is None:
            self._share_threshold = series.details.threshold

    def _turn(self, contender: Contender, number: int) -> None:
        """Measures one round: on the device, and in the first ones also from array to array."""
        series = self._everyone[contender.name]
        meter, options = self._meter(contender.implementation), self._options(contender)
        image = self._images[number % len(self._images)]
        lap = meter.lap(image, options)[0]  # the result goes at once
        turn = Measurement(device_ms=lap.device_ms, enqueue_ms=lap.enqueue_ms)
        if number < (1 if series.is_slow else self._effort.host_rounds):
            host_ms, answer = meter.call(image, options)
            stages = answer.details().stage_ms
            turn = replace(turn, host_ms=host_ms, stage_ms=stages, staged_ms=host_ms)
        series.rounds[number] = turn

    def _meter(self, implementation: Implementation) -> DeviceMeter:
        if implementation not in self._meters:
            caller = open_caller(implementation, self._setting.files, self._setting.place())
            self._meters[implementation] = DeviceMeter(caller, self._clock, self._copies)
        return self._meters[implementation]

    def _options(self, contender: Contender) -> CallOptions:
        if contender.implementation.family == "published" and contender.mode == AT_SHARE:
            if self._share_threshold is None:
                ran = "no contender of ours ran at 20 % heavy"
                raise LookupError(f"{ran}, which tells the k of this one")
            return {"k": k_of_difficulty(self._share_threshold, *self._cost)}
        return contender.options


def _record(
    contender: Contender, everyone: AllSeries, setting: DeviceSetting, lr_size: Size
) -> Record:
    series = everyone[contender.name]
    implementation, first = contender.implementation, series.first
    plain, published = (
        everyone.get(name, NOT_TIMED).times_ms for name in (contender.plain, contender.published)
    )
    turns = series.rounds.values()
    return {
        "contender": contender.name,
        **asdict(implementation),
        "precision": implementation.precision or setting.precision,
        "mode": contender.mode,
        "ours": implementation.is_ours,
        "error": series.error,
        "skipped": series.skipped,
        "notes": series.notes,
        "device_ms": _points([turn.device_ms for turn in turns]),
        "host_ms": _points([turn.host_ms for turn in turns]),
        "enqueue_ms": _points([turn.enqueue_ms for turn in turns]),
        "over_plain": paired_ratio(series.times_ms, plain),
        "over_published": paired_ratio(series.times_ms, published),
        "plain": contender.plain,
        "first_ms": first and first.first_ms,
        "peak_mib": first and first.peak_mib,
        "held_mib": first and first.held_mib,
        "times_ms": list(series.times_ms.values()),
    } | _work(contender, series, setting, lr_size)


def _points(times_ms: Sequence[float | None]) -> dict[str, float] | None:
    found = known_distribution(times_ms)
    if found is None:
        return None
    return {"p50": found.p50, "p90": found.p90, "p99": found.p99, "rounds": found.samples}


def _work(
    contender: Contender, series: ContenderSeries, setting: DeviceSetting, lr_size: Size
) -> Record:
    """Gives the share of heavy pixels, work and speed, as a whole and by stage."""
    implementation, times = contender.implementation, list(series.times_ms.values())
    manifest = Bundle.load(setting.files.bundle(implementation.is_pcsr)).manifest
    counts = series.pixels
    hr_size = (lr_size[0] * SCALE, lr_size[1] * SCALE)
    stages: dict[str, Work] = {}
    if times and (counts or not implementation.is_pcsr):
        stages = stage_work(manifest, setting.precision, lr_size, hr_size, counts)
    total = total_work(stages)
    if implementation.family == "published" and counts:  # it computes what the paper counts
        total = Work(total.bytes, manifest.costs.paper_flops(lr_size, hr_size, counts))
    staged = [turn.stage_ms for turn in series.rounds.values() if turn.stage_ms]
    return {
        "heavy_share": series.heavy_share,
        "gflop": total.flops / 1e9 if stages else None,
        "least_mb": total.bytes / 1e6 if stages else None,
        **speed(total, distribution(times).p50 if stages else 0.0),
        "stages": {
            name: {"ms": ms} | (speed(stages[name], ms) if name in stages else {})
            for name, ms in by_stage(staged, median).items()
        },
    }
