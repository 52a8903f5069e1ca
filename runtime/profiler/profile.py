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

from .assemble import make_case
from .cases import PLAIN, Choices, Setup, Spec, make_specs, refuse_large
from .measuring import ceilings as host_ceilings
from .measuring.monitor import Monitor
from .measuring.nvml import GpuSensors
from .opened import HostBundle, OpenedBundle, OpenedBundles
from .pictures import SIZES, InputImage, Size, photos, reduced, samples
from .plan import TRACED, MeasurementPlan
from .record import Case, Ceilings, Profile
from .session import Say, measure_cases
from .trace import record_calls

if TYPE_CHECKING:
    from .report.page import RoutedImage

SAMPLE = (
    "no photo was named (--image): the bundle's sample picture stands in, side by side. How many "
    "pixels are heavy, and so the time, depends on the content"
)


@dataclass(frozen=True)
class Sources:
    """Says what to upscale; without any, a bundle's own sample."""

    sizes: Sequence[Size] = ()
    """(height, width) of the inputs."""
    images: Sequence[Path] = ()
    """Photos, upscaled as they are."""
    originals: Sequence[Path] = ()
    """Photos that are reduced first."""


@dataclass(frozen=True)
class Prepared:
    """Is a run that nothing refuses any more: bundles are opened, nothing is measured."""

    specs: Sequence[Spec]
    bundles: OpenedBundles


def prepare(choices: Choices, sources: Sources, say: Say) -> Prepared:
    """Opens all bundles; raises what refuses a choice, a picture, a bundle or a device."""
    paths = dict.fromkeys([*choices.bundles, *([choices.baseline] if choices.baseline else [])])
    bundles = {path: Bundle.load(path) for path in paths}
    if choices.baseline is not None and bundles[choices.baseline].kind != "plain":
        raise UsageError(
            f"{choices.baseline} is no plain network; name one with --baseline, and this one among "
            "the bundles"
        )
    specs = make_specs(choices, bundles, _pictures(choices, sources, bundles))
    opened = {}
    for setup in dict.fromkeys(spec.setup for spec in specs):
        say(f"opening {setup.bundle}")
        shapes = len({(s.picture.size, s.scale, s.mode) for s in specs if s.setup == setup})
        opened[setup] = _opened(setup, shapes)
    return Prepared(specs, opened)


def _opened(setup: Setup, shapes: int) -> OpenedBundle:
    if setup.device == "cpu":
        return HostBundle(setup)
    from .device_bundle import DeviceBundle

    return DeviceBundle(setup, shapes)


def measure(prepared: Prepared, plan: MeasurementPlan, say: Say = lambda text: None) -> Profile:
    """Measures all cases, interleaved."""
    setup = next(iter(prepared.bundles))
    roof = _roof_of(setup)
    say("ceilings of this machine")
    before = roof()
    monitor = Monitor(_gpu_of(setup.device))
    series = measure_cases(prepared.specs, prepared.bundles, plan, say, monitor.tick)
    warnings, facts = monitor.warnings(), monitor.facts()
    say("ceilings of this machine, again")
    ceilings = before.higher(roof())
    cases: list[Case] = [
        make_case(spec, prepared.bundles[spec.setup].upscaler, series, ceilings, plan)
        for spec in prepared.specs
    ]
    if any(spec.picture.is_sample and spec.manifest_kind == "pcsr" for spec in prepared.specs):
        warnings.insert(0, SAMPLE)
    environment = _environment(setup) | facts
    return Profile(environment, asdict(plan), ceilings, tuple(cases), tuple(warnings))


def traced(prepared: Prepared) -> dict[str, list[Span]]:
    """Records spans of a few calls of each case."""
    return record_calls(prepared.specs, prepared.bundles, TRACED)


def sampled(prepared: Prepared) -> "RoutedImage":
    """Calls the first case that routes, or the first of all, once more, for its pictures."""
    from .report.page import RoutedImage

    spec = next((s for s in prepared.specs if s.mode != PLAIN), prepared.specs[0])
    upscaler = prepared.bundles[spec.setup].upscaler
    result = upscaler(spec.picture.pixels, **spec.options)
    count = upscaler.bundle.upsamplers
    return RoutedImage(spec.picture.pixels, result.image, result.assignment, count, spec.name)


def _pictures(
    choices: Choices, sources: Sources, bundles: Mapping[Path, Bundle]
) -> Sequence[InputImage]:
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


def _threads(setup: Setup) -> int:
    return setup.threads or usable_cores()


def _roof_of(setup: Setup) -> Callable[[], Ceilings]:
    if setup.device == "cpu":
        return lambda: host_ceilings.measure_ceilings(_threads(setup))
    from .measuring.device_ceilings import device_ceilings

    return lambda: device_ceilings(setup.device)


def _gpu_of(device: str) -> GpuSensors | None:
    if device == "cpu":
        return None
    import torch

    return GpuSensors(str(torch.cuda.get_device_properties(device).uuid))


def _environment(setup: Setup) -> dict[str, Any]:
    found = machine(_threads(setup)) | {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": setup.device,
    }
    if setup.device != "cpu":
        import torch

        found["gpu"] = torch.cuda.get_device_name(setup.device)
        found["cuda"] = torch.version.cuda
    return found
