"""pcsr-profile without its command line: choices in, a `Profile` out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pcsr.bundle import Bundle
from pcsr.errors import UsageError
from pcsr.runtime.machine import machine, usable_cores
from pcsr.runtime.timing import Span

from . import ceilings as host_ceilings
from .assemble import make_case
from .callers import Caller, open_caller, timed_call
from .cases import PLAIN, Choices, Engine, Spec, make_specs, refuse_large
from .monitor import Monitor
from .nvml import Gpu
from .pictures import SIZES, Picture, Size, photos, reduced, samples
from .plan import TRACED, Plan
from .record import Case, Ceilings, Profile
from .rounds import Say, run_rounds
from .trace import record_calls

if TYPE_CHECKING:
    from .report.page import RoutedImage

SAMPLE = (
    "no photo was named (--image): the bundle's sample picture stands in, side by side. How many "
    "pixels are heavy, and so the time, depends on the content"
)


@dataclass(frozen=True)
class Sources:
    """What to upscale. images: photos; originals: reduced first. sizes: (height, width)."""

    sizes: Sequence[Size] = ()
    images: Sequence[Path] = ()
    originals: Sequence[Path] = ()


@dataclass(frozen=True)
class Prepared:
    """All that can be refused has been: bundles are opened, nothing is measured."""

    specs: Sequence[Spec]
    callers: Mapping[Engine, Caller]


def prepare(choices: Choices, sources: Sources, say: Say) -> Prepared:
    """Raises what refuses a choice, a picture, a bundle or a device."""
    paths = dict.fromkeys([*choices.bundles, *([choices.baseline] if choices.baseline else [])])
    bundles = {path: Bundle.load(path) for path in paths}
    if choices.baseline is not None and bundles[choices.baseline].kind != "plain":
        raise UsageError(
            f"{choices.baseline} is no plain network; name one with --baseline, and this one among "
            "the bundles"
        )
    specs = make_specs(choices, bundles, _pictures(choices, sources, bundles))
    callers = {}
    for engine in dict.fromkeys(spec.engine for spec in specs):
        say(f"opening {engine.bundle}")
        shapes = len({(s.picture.size, s.scale, s.mode) for s in specs if s.engine == engine})
        callers[engine] = open_caller(engine, shapes)
    return Prepared(specs, callers)


def measure(prepared: Prepared, plan: Plan, say: Say = lambda text: None) -> Profile:
    """Measures all cases, interleaved."""
    engine = next(iter(prepared.callers))
    roof = _roof_of(engine)
    say("ceilings of this machine")
    before = roof()
    gpu = _gpu_of(engine.device)
    monitor = Monitor(gpu)
    timings = run_rounds(prepared.specs, prepared.callers, plan, say, monitor.tick)
    warnings, facts = monitor.warnings(), monitor.facts()
    say("ceilings of this machine, again")
    ceilings = _higher(before, roof())
    cases: list[Case] = [
        make_case(spec, prepared.callers[spec.engine], timings, ceilings, plan)
        for spec in prepared.specs
    ]
    if any(spec.picture.is_sample and spec.manifest_kind == "pcsr" for spec in prepared.specs):
        warnings.insert(0, SAMPLE)
    environment = _environment(engine) | facts
    return Profile(environment, asdict(plan), ceilings, tuple(cases), tuple(warnings))


def traced(prepared: Prepared) -> dict[str, list[Span]]:
    """Spans of a few calls of each case."""
    return record_calls(prepared.specs, prepared.callers, TRACED)


def sampled(prepared: Prepared) -> "RoutedImage":
    """One more call of the first case that routes, or of the first of all, for its pictures."""
    from .report.page import RoutedImage

    spec = next((s for s in prepared.specs if s.mode != PLAIN), prepared.specs[0])
    upscaler = prepared.callers[spec.engine].upscaler
    _, result = timed_call(upscaler, spec)
    count = upscaler.bundle.upsamplers
    return RoutedImage(spec.picture.pixels, result.image, result.assignment, count, spec.name)


def _pictures(
    choices: Choices, sources: Sources, bundles: Mapping[Path, Bundle]
) -> Sequence[Picture]:
    if sources.originals and (sources.images or sources.sizes):
        raise UsageError("--hr brings its own pictures; leave out --image and --size")
    if sources.originals:
        trained = bundles[choices.bundles[0]].manifest.trained_scale
        return reduced(sources.originals, choices.scale or trained)
    for size in sources.sizes:
        refuse_large(size, choices.max_pixels)
    if sources.images:
        return photos(sources.images, sources.sizes)
    return samples([*bundles.values()], sources.sizes or SIZES)


def _threads(engine: Engine) -> int:
    return engine.threads or usable_cores()


def _roof_of(engine: Engine) -> Callable[[], Ceilings]:
    if engine.device == "cpu":
        return lambda: host_ceilings.measure_ceilings(_threads(engine))
    from .device_ceilings import device_roof

    return lambda: device_roof(engine.device)


def _gpu_of(device: str) -> Gpu | None:
    if device == "cpu":
        return None
    import torch

    return Gpu(str(torch.cuda.get_device_properties(device).uuid))


def _higher(one: Ceilings, other: Ceilings) -> Ceilings:
    """The higher of each: what a moment's disturbance took is no ceiling."""
    half = [c.half_gflop_s for c in (one, other) if c.half_gflop_s is not None]
    return Ceilings(
        max(one.gflop_s, other.gflop_s), max(one.gb_s, other.gb_s), max(half) if half else None
    )


def _environment(engine: Engine) -> dict[str, Any]:
    found = machine(_threads(engine)) | {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": engine.device,
    }
    if engine.device != "cpu":
        import torch

        found["gpu"] = torch.cuda.get_device_name(engine.device)
        found["cuda"] = torch.version.cuda
    return found
