"""The store of engines in a bundle: valid ones are found in it, others are built."""

import shlex
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pcsr.atomic import writing
from pcsr.bundle import Bundle
from pcsr.errors import EngineError
from pcsr.extras import needs_extra

from .build import BuildOptions, check_options, most_pixels
from .building import build_set
from .library import Library, load_library
from .plans import (
    PlanSet,
    Say,
    engines_folder,
    find_built,
    find_fitting,
    newest_record,
    set_aside_stale,
)
from .profiles import Shapes, choose_profile, format_size, row_limits
from .record import Facts, graph_hashes
from .target import LocalGpu, choose_target, find_gpu

if TYPE_CHECKING:
    from .runner import TensorRTRunner


@dataclass(frozen=True)
class BuildRequest:
    """Holds what to build, and how."""

    shapes: Shapes = field(default_factory=Shapes)
    options: BuildOptions = field(default_factory=BuildOptions)
    device: str = "cuda"
    capabilities: Sequence[str] = ()
    """The compute capabilities that TensorRT-RTX builds for, as in `8.9`; none: all."""
    timing_cache: Path | None = None
    """A file that is read, and written after each engine."""


def open_engines(
    bundle: Bundle,
    device: str = "cuda",
    precision: str = "fp32",
    request: BuildRequest | None = None,
    rebuild: bool = True,
    say: Say = lambda message: None,
) -> "TensorRTRunner":
    """Opens the engines of a bundle on a GPU, ready to run; they are built where none fit.

    Without a request any profile will do: the newest is taken. With one, only what it asks for.

    Raises:
        BackendError: TensorRT or the GPU is not there.
        BundleError: the bundle has no such precision, or a graph differs from its manifest.
        EngineError: nothing fits and `rebuild` is off (the message has the command to run); or
            building or loading failed.
        OutputError: engines cannot be written into the bundle.
    """
    library = load_library()
    gpu = find_gpu(device)
    plans = ready_plans(bundle, gpu, precision, request, rebuild, say)
    from .runner import TensorRTRunner  # late: it imports torch, which building does not need

    return TensorRTRunner(library, plans, gpu.device)


def ready_plans(
    bundle: Bundle,
    gpu: LocalGpu,
    precision: str,
    request: BuildRequest | None = None,
    rebuild: bool = True,
    say: Say = lambda message: None,
) -> PlanSet:
    """Gives the plans that `open_engines` loads: checked, and nothing deserialised yet. Options and
    errors are those of `open_engines`.
    """
    library = load_library()
    for role in bundle.graphs(precision):
        bundle.graph_bytes(role, precision)  # engines of a graph that has changed are stale
    if request is None:
        found, reasons = find_fitting(bundle, library, gpu, precision)
        request = _same_again(bundle, library, gpu, precision)
    else:
        request = replace(request, device=gpu.device)
        found, reasons = find_built(bundle, _facts(library, bundle, precision, request))
    if found is not None:
        return found
    if rebuild:
        return build_engines(bundle, precision, request, say=say)
    raise EngineError(
        f"{bundle.path} has no {precision} engines for {gpu} and {library.title} "
        f"({'; '.join(reasons) or 'nothing was built yet'}); run "
        f"{build_command(bundle, precision, request)}"
    )


def build_engines(
    bundle: Bundle,
    precision: str,
    request: BuildRequest,
    force: bool = False,
    say: Say = lambda message: None,
) -> PlanSet:
    """Builds the engines of a bundle and keeps them in it, unless they are there already. `say` is
    told each step, at its start, every ten seconds and at its end.

    Stale or damaged engines are renamed, never deleted. Two processes do not build at once: the
    second waits for the first and takes its result. The set appears whole or not at all.

    Args:
        force: build also what is there already, and replace it.

    Raises:
        BackendError: TensorRT is not there, or has no GPU to build for.
        UsageError: sizes or options out of range.
        BundleError: the bundle has no such precision, or a graph differs from its manifest.
        EngineError: a graph cannot be parsed or built, or an engine computes in another precision
            than its graph asks for.
        OutputError: engines cannot be written into the bundle.
    """
    library = load_library()
    facts = _facts(library, bundle, precision, request)
    if not force and (found := find_built(bundle, facts)[0]):
        say(f"{precision}: the engines are there and valid")
        return found
    with one_builder(engines_folder(bundle), say):
        if not force and (found := find_built(bundle, facts)[0]):
            return found
        set_aside_stale(bundle, say)
        with _on_device(library, request.device):
            return build_set(library, bundle, facts, request.device, request.timing_cache, say)


@contextmanager
def one_builder(folder: Path, say: Say) -> Iterator[None]:
    """Lets one builder at a time, over all processes, write into a folder; the others wait, and say
    so. The system frees the lock of a process that dies.

    Raises:
        OutputError: the folder cannot be made or written.
    """
    with needs_extra("building engines", "tensorrt"):
        from filelock import FileLock, Timeout
    lock = FileLock(folder / ".lock")
    with writing(folder):
        folder.mkdir(exist_ok=True)
        try:
            held = lock.acquire(timeout=0)
        except Timeout:
            say(f"another process builds in {folder}; waiting for it …")
            held = lock.acquire()
    with held:
        yield


def build_command(bundle: Bundle, precision: str, request: BuildRequest) -> str:
    """Writes the command that builds what is asked for."""
    words = ["pcsr-build", str(bundle.path), "--precision", precision]
    shapes, options = request.shapes, request.options
    for name in ("min", "opt", "max"):
        size = getattr(shapes, name)
        words += [f"--{name}-shape", format_size(size)] if size else []
    if options.opt_level != BuildOptions.opt_level:
        words += ["--opt-level", str(options.opt_level)]
    if options.workspace_mib is not None:
        words += ["--workspace", str(options.workspace_mib)]
    if options.version_compatible:
        words += ["--version-compatible"]
    if options.hardware_compatible:
        words += ["--hardware-compatible", options.hardware_compatible]
    for capability in request.capabilities:
        words += ["--compute-capability", capability]
    if request.device != BuildRequest.device:
        words += ["--device", request.device]
    return shlex.join(words)


def _facts(library: Library, bundle: Bundle, precision: str, request: BuildRequest) -> Facts:
    check_options(library, request.options, request.timing_cache)
    target = choose_target(library, request.device, request.capabilities)
    role = bundle.image_role
    map_pixels, rows = row_limits(bundle.manifest.model)
    image_pixels = most_pixels(library, bundle.graph_bytes(role, precision), role)
    return Facts(
        library=library.name,
        version=library.version,
        target=target,
        precision=precision,
        profile=choose_profile(request.shapes, min(map_pixels, image_pixels), rows),
        options=request.options,
        graphs=graph_hashes(bundle, precision),
    )


def _same_again(bundle: Bundle, library: Library, gpu: LocalGpu, precision: str) -> BuildRequest:
    """Asks for what was built last, for this GPU; for the defaults where nothing was."""
    record = newest_record(bundle, library, precision)
    if record is None:
        return BuildRequest(device=gpu.device)
    facts = record.facts
    limits = facts.target.capabilities if library.is_rtx else ()
    capabilities = limits if gpu.capability in limits else ()
    return BuildRequest(Shapes(*facts.profile.image_sizes), facts.options, gpu.device, capabilities)


def _on_device(library: Library, device: str) -> AbstractContextManager[Any]:
    if library.is_rtx:
        return nullcontext()
    import torch

    return torch.cuda.device(device)
