"""The builder: one ONNX graph becomes one serialized plan."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pcsr.atomic import atomic_file
from pcsr.errors import EngineError, UsageError
from pcsr.interrupts import interrupts_deferred
from pcsr.text import one_line

from .library import Library
from .profiles import MOST_ELEMENTS, ShapeProfile, input_limits
from .target import Target

PROBE_SIDE = 32


@dataclass(frozen=True)
class BuildOptions:
    """Holds what the builder is told besides the graph and the profile; it is part of an engine's
    key.
    """

    opt_level: int = 3
    """How long the builder searches, from 0 to 5."""
    workspace_mib: int | None = None
    """The most scratch memory of a layer; None: what the GPU has."""
    version_compatible: bool = False
    """Whether the plan runs in later versions of the same major one too."""
    hardware_compatible: str | None = None
    """`ampere-plus` or `same-compute-capability`, for other GPUs; None: this model alone."""


@dataclass(frozen=True)
class ParsedGraph:
    """A graph in TensorRT's form. It keeps the builder and the parser, whose memory it uses."""

    network: Any
    builder: Any
    parser: Any
    role: str

    @property
    def inputs(self) -> list[Any]:
        return [self.network.get_input(i) for i in range(self.network.num_inputs)]


def check_options(library: Library, options: BuildOptions, timing_cache: Path | None) -> None:
    """Raises UsageError for an option that the library does not have."""
    if not library.is_rtx:
        return
    given = {
        "--version-compatible": options.version_compatible,
        "--hardware-compatible": options.hardware_compatible,
        "--timing-cache": timing_cache,
    }
    refused = [name for name, value in given.items() if value]
    if refused:
        raise UsageError(
            f"{', '.join(refused)}: not with {library.title}, whose engines fit many GPUs already "
            "and are timed on none"
        )


def parse(library: Library, onnx: bytes, role: str) -> ParsedGraph:
    """Parses a graph. `backbone` keeps `features` as its only output.

    Raises:
        EngineError: the parser refuses it, with all that it says.
    """
    trt = library.trt
    builder = trt.Builder(library.log)
    # TensorRT 10 must be told that the graph's own types hold; later versions know no other way.
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, library.log)
    if not parser.parse(onnx):
        library.log.errors.clear()
        errors = "; ".join(parser.get_error(i).desc() for i in range(parser.num_errors))
        raise EngineError(f"{library.title} cannot parse the {role} graph: {one_line(errors)}")
    if role == "backbone":
        for row_map in [network.get_output(i) for i in range(1, network.num_outputs)]:
            network.unmark_output(row_map)
    return ParsedGraph(network, builder, parser, role)


def most_pixels(library: Library, onnx: bytes, role: str) -> int:
    """Gives the largest image (pixels) at which no tensor of an image graph has more than 2^31-1
    elements. TensorRT's own shape inference counts them on a small image.
    """
    parsed = parse(library, onnx, role)
    parsed.inputs[0].shape = (1, 3, PROBE_SIDE, PROBE_SIDE)
    layers = [parsed.network.get_layer(i) for i in range(parsed.network.num_layers)]
    tensors = [layer.get_output(i) for layer in layers for i in range(layer.num_outputs)]
    widest: int = max(math.prod(tensor.shape) for tensor in tensors)
    return MOST_ELEMENTS * PROBE_SIDE**2 // widest


def build_plan(
    library: Library,
    onnx: bytes,
    role: str,
    profile: ShapeProfile,
    options: BuildOptions,
    target: Target,
    timing_cache: Path | None = None,
) -> bytes:
    """Builds one engine. Ctrl-C takes effect when it is built.

    Raises:
        EngineError: the parser or the builder refuses the graph, or the timing cache is not from
            this machine.
        OutputError: the timing cache cannot be written.
    """
    with interrupts_deferred():  # the log is called from C++, where an exception ends the process
        parsed = parse(library, onnx, role)
        config = make_config(library, parsed.builder, options, target)
        _add_profile(library, parsed, config, profile)
        cache = _use_timing_cache(library, config, timing_cache)
        plan = parsed.builder.build_serialized_network(parsed.network, config)
        if plan is None:
            raise library.error(f"cannot build the {role} engine")
        if timing_cache and cache is not None:
            with atomic_file(timing_cache, overwrite=True) as file:
                file.write_bytes(cache.serialize())
        return bytes(plan)


def make_config(library: Library, builder: Any, options: BuildOptions, target: Target) -> Any:  # noqa: ANN401
    """Makes the builder's configuration, but for the profile and the timing cache."""
    trt = library.trt
    config = builder.create_builder_config()
    config.builder_optimization_level = options.opt_level
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.clear_flag(trt.BuilderFlag.TF32)  # on by default: 10 bits of mantissa are not fp32
    if options.workspace_mib is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mib << 20)
    if options.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if options.hardware_compatible:
        name = options.hardware_compatible.upper().replace("-", "_")
        config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.__members__[name]
    if library.is_rtx and target.capabilities:
        config.num_compute_capabilities = len(target.capabilities)
        for index, capability in enumerate(target.capabilities):
            name = f"SM{capability.replace('.', '')}"
            config.set_compute_capability(trt.ComputeCapability.__members__[name], index)
    return config


def _add_profile(library: Library, parsed: ParsedGraph, config: Any, profile: ShapeProfile) -> None:  # noqa: ANN401
    ranges = parsed.builder.create_optimization_profile()
    for tensor in parsed.inputs:
        shape = tuple(tensor.shape)
        if -1 not in shape:
            continue
        limits = input_limits(tensor.name, shape, profile)
        ranges.set_shape(tensor.name, *limits)
    if config.add_optimization_profile(ranges) < 0:
        raise library.error(f"refuses the sizes {profile} for the {parsed.role} graph")


def _use_timing_cache(library: Library, config: Any, file: Path | None) -> Any:  # noqa: ANN401
    if file is None:
        return None
    try:
        data = file.read_bytes() if file.exists() else b""
    except OSError as error:
        raise EngineError(f"the timing cache {file} cannot be read: {error.strerror}") from error
    cache = config.create_timing_cache(data)
    if cache is None or not config.set_timing_cache(cache, False):
        raise library.error(
            f"refuses the timing cache {file}: it is damaged, or from another GPU, driver or "
            "version; choose another file"
        )
    return cache
