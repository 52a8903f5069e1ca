"""pcsr-profile without its command line: choices in, a `Profile` out."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pcsr.bundle import Bundle
from pcsr.errors import UsageError
from pcsr.runtime.machine import machine, usable_cores
from pcsr.single_file import open_bundle

from .assemble import make_case
from .cases import PLAIN, Choices, Setup, Spec, make_specs, refuse_large
from .measuring import ceilings as host_ceilings
from .measuring.monitor import Monitor
from .measuring.nvml import read_gpu
from .opened import OpenedBundle, OpenedBundles
from .pictures import SIZES, InputImage, photos, reduced, samples
from .plan import MeasurementPlan
from .record import Ceilings, Profile
from .session import Say, measure_cases

if TYPE_CHECKING:
    from .report.routed_image import RoutedImage

SAMPLE = (
    "no photo was named (--image): the bundle's sample picture stands in, side by side. How many "
    "pixels are heavy, and so the time, depends on the content"
)


@dataclass(frozen=True)
class Prepared:
    """A prepared run is refused by nothing any more: bundles are opened, nothing is measured."""

    specs: Sequence[Spec]
    bundles: OpenedBundles


def prepare(choices: Choices, say: Say) -> Prepared:
    """Opens all bundles; raises what refuses a choice, a picture, a bundle or a device."""
    paths = dict.fromkeys([*choices.bundles, *([choices.baseline] if choices.baseline else [])])
    bundles = {path: open_bundle(path) for path in paths}
    if choices.baseline is not None and bundles[choices.baseline].kind != "plain":
        raise UsageError(
            f"{choices.baseline} is no plain network; name one with --baseline, and this one among "
            "the bundles"
        )
    specs = make_specs(choices, bundles, _pictures(choices, bundles))
    opened = {}
    for setup in dict.fromkeys(spec.setup for spec in specs):
        say(f"opening {setup.bundle}")
        shapes = len({(s.picture.size, s.scale, s.mode) for s in specs if s.setup == setup})
        opened[setup] = _opened(setup, shapes)
    return Prepared([_resolved(spec, opened[spec.setup]) for spec in specs], opened)


def _resolved(spec: Spec, bundle: OpenedBundle) -> Spec:
    """Makes all calls of a case route alike: a budget is a share of heavy pixels from here on."""
    request = bundle.upscaler.resolved(spec.picture.size, spec.scale, spec.request)
    return replace(spec, request=request)


def _opened(setup: Setup, shapes: int) -> OpenedBundle:
    if setup.device == "cpu":
        return OpenedBundle(setup)
    from .device_bundle import DeviceBundle

    return DeviceBundle(setup, shapes)


def measure(prepared: Prepared, plan: MeasurementPlan, say: Say = lambda text: None) -> Profile:
    """Measures all cases, interleaved."""
    setup = next(iter(prepared.bundles))
    threads = setup.threads or usable_cores()
    say("ceilings of this machine")
    before = _ceilings(setup.device, threads)
    monitor = _monitor(setup.device)
    series = measure_cases(prepared.specs, prepared.bundles, plan, say, monitor.tick)
    warnings, facts = monitor.warnings(), monitor.facts()
    say("ceilings of this machine, again")
    ceilings = before.higher(_ceilings(setup.device, threads))
    cases = tuple(
        make_case(spec, prepared.bundles[spec.setup].upscaler, series, ceilings, plan)
        for spec in prepared.specs
    )
    if any(spec.picture.is_sample and spec.mode != PLAIN for spec in prepared.specs):
        warnings.insert(0, SAMPLE)
    environment = _environment(setup.device, threads) | facts
    return Profile(environment, asdict(plan), ceilings, cases, tuple(warnings))


def sampled(prepared: Prepared) -> "RoutedImage":
    """Calls the first case that routes, or the first of all, once more, for its pictures."""
    from .report.routed_image import RoutedImage

    spec = next((s for s in prepared.specs if s.mode != PLAIN), prepared.specs[0])
    image = spec.picture.pixels
    result = prepared.bundles[spec.setup].upscaler(image, **spec.options)
    pixels = result.stats.pixels_per_upsampler
    return RoutedImage(image, result.image, result.assignment, pixels, spec.name)


def _pictures(choices: Choices, bundles: Mapping[Path, Bundle]) -> Sequence[InputImage]:
    if choices.originals and (choices.images or choices.sizes):
        raise UsageError("--hr brings its own pictures; leave out --image and --size")
    if choices.originals:
        trained = bundles[choices.bundles[0]].manifest.trained_scale
        return reduced(choices.originals, choices.scale or trained)
    for size in choices.sizes:
        refuse_large(size, choices.max_pixels)
    if choices.images:
        return photos(choices.images, choices.sizes)
    return samples([*bundles.values()], choices.sizes or SIZES)


def _ceilings(device: str, threads: int) -> Ceilings:
    if device == "cpu":
        return host_ceilings.measure_ceilings(threads)
    from .measuring.device_ceilings import device_ceilings

    return device_ceilings(device)


def _monitor(device: str) -> Monitor:
    if device == "cpu":
        return Monitor()
    import torch

    return Monitor(partial(read_gpu, f"GPU-{torch.cuda.get_device_properties(device).uuid}"))


def _environment(device: str, threads: int) -> dict[str, Any]:
    date = datetime.now(UTC).isoformat(timespec="seconds")
    found = machine(threads) | {"date": date, "device": device}
    if device == "cpu":
        return found
    import torch

    return found | {"gpu": torch.cuda.get_device_name(device), "cuda": torch.version.cuda}
