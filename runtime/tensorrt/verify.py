"""Engines against ONNX Runtime: both run the same inputs in Polygraphy's runners, and its
comparator judges the outputs.
"""

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcsr.atomic import atomic_file
from pcsr.bundle import Bundle
from pcsr.errors import BackendError, EngineError, PcsrError, VerificationError
from pcsr.extras import needs_extra
from pcsr.text import one_line

from .library import Library, load_library
from .plans import PlanSet, Say
from .profiles import ShapeProfile
from .target import LocalGpu, find_gpu

REPORT = "verification.json"
FORMAT = "pcsr-engine-verification"
SIZE = (37, 53)
ROWS = 1000
# Of the outputs' mean magnitude: other orders of sums; roundings to 11, 8 and 4 bits.
ALLOWED = {"fp32": 1e-4, "fp16": 3e-2, "bf16": 0.2, "int8": 0.2, "fp8": 0.2}
# ONNX Runtime has no bf16 convolutions on a CPU.
REFERENCES = {"bf16": "fp32"}
Feed = Mapping[str, Any]


@dataclass(frozen=True)
class EngineCheck:
    """Holds how the output of one engine compared with ONNX Runtime's, as mean and largest absolute
    difference.
    """

    output: str
    passed: bool
    mean_difference: float
    largest_difference: float
    allowed_mean_difference: float

    def to_json(self) -> dict[str, Any]:
        """Gives the fields for JSON, which has no NaN: null."""
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in asdict(self).items()
        }


def check_can_verify(device: str) -> LocalGpu:
    """Finds the GPU that engines are verified on.

    Raises:
        BackendError: there is none, or Polygraphy or ONNX Runtime is not installed.
    """
    with needs_extra("pcsr-build --verify", "tensorrt"):
        import polygraphy  # noqa: F401
    with needs_extra("pcsr-build --verify", "cpu"):
        import onnxruntime  # noqa: F401
    try:
        return find_gpu(device)
    except BackendError as error:
        raise BackendError(f"pcsr-build --verify runs the engines on a GPU; {error}") from error


def verify_engines(
    bundle: Bundle, built: PlanSet, gpu: LocalGpu, say: Say = lambda message: None
) -> dict[str, EngineCheck]:
    """Compares each engine of a set with ONNX Runtime on the CPU, and writes `verification.json`
    beside them, whatever was found.

    Raises:
        BackendError: the engines are not for this GPU.
        EngineError: an engine or a graph does not run.
        OutputError: the report cannot be written.
        VerificationError: an engine gives something else.
    """
    library, facts = load_library(), built.record.facts
    if misfit := facts.misfit(library, gpu, facts.precision):
        raise BackendError(f"pcsr-build --verify cannot run {built.folder.name}: it {misfit}")
    checks = {}
    for role, plan in built.plans.items():
        checks[role] = _check(library, bundle, built, role, plan)
        check = checks[role]
        say(
            f"{facts.precision} {role}: differs from ONNX Runtime by {check.mean_difference:.1e} "
            f"(allowed {check.allowed_mean_difference:.1e})"
        )
    _write(built.folder / REPORT, checks, gpu)
    failed = [role for role, check in checks.items() if not check.passed]
    if failed:
        first = checks[failed[0]]
        raise VerificationError(
            f"{len(failed)} of {len(checks)} {facts.precision} engines differ from ONNX Runtime, "
            f"first {failed[0]}: {first.mean_difference:.1e} on average (allowed "
            f"{first.allowed_mean_difference:.1e}); see {built.folder / REPORT}, and do not use "
            "these engines"
        )
    return checks


def example_feed(
    bundle: Bundle, precision: str, role: str, profile: ShapeProfile
) -> dict[str, NDArray[Any]]:
    """Makes random inputs of a graph, in float32 and int32, within the shapes of a profile."""
    random = np.random.default_rng(0)
    height, width = (
        min(max(SIZE[axis], profile.min[axis]), profile.max[axis]) for axis in range(2)
    )
    if role == bundle.image_role:
        return {"image": random.random((1, 3, height, width), dtype=np.float32)}
    pixels = height * width
    features, index, *_ = bundle.graphs(precision)[role].inputs
    channels, neighbours = int(features.shape[-1]), [int(size) for size in index.shape[1:]]
    rows = (min(ROWS, profile.rows_max // math.prod(neighbours)), *neighbours)
    return {
        "features": random.standard_normal((pixels, channels), dtype=np.float32),
        "index": random.integers(0, pixels, rows, dtype=np.int32),
        "offset": random.random((*rows, 2), dtype=np.float32) * 2 - 1,
        "cell": np.array([0.5, 0.8], np.float32),
    }


def _check(library: Library, bundle: Bundle, built: PlanSet, role: str, plan: bytes) -> EngineCheck:
    facts = built.record.facts
    reference = REFERENCES.get(facts.precision, facts.precision)
    plain = example_feed(bundle, facts.precision, role, facts.profile)
    with _polygraphy(library, role):
        from polygraphy.backend.onnxrt import OnnxrtRunner, SessionFromOnnx
        from polygraphy.backend.trt import TrtRunner

        engine, runtime = library.load(plan, role, facts.options.version_compatible)
        ours = _run(TrtRunner(engine), _typed(bundle, facts.precision, role, plain))
        del engine, runtime  # in this order
        session = SessionFromOnnx(
            bundle.graph_bytes(role, reference), providers=["CPUExecutionProvider"]
        )
        theirs = _run(OnnxrtRunner(session), _typed(bundle, reference, role, plain))
        return _compared(ours, theirs, ALLOWED[facts.precision])


def _run(runner: Any, feed: Feed) -> dict[str, NDArray[np.float32]]:  # noqa: ANN401
    """Runs one feed in a runner of Polygraphy; gives the outputs by name, in float32."""
    from polygraphy.comparator import Comparator

    results = Comparator.run([runner], data_loader=[feed])
    outputs = results[0][1][0]
    return {name: _as_floats(values) for name, values in outputs.items()}


def _compared(ours: Feed, theirs: Feed, share: float) -> EngineCheck:
    """Lets Polygraphy judge the output of an engine. share: of its mean magnitude."""
    from polygraphy.comparator import Comparator, RunResults, SimpleCompareFunc

    ((name, _),) = ours.items()
    allowed = share * float(np.abs(theirs[name]).mean())
    results = RunResults()
    results.add([dict(ours)], runner_name="TensorRT")
    results.add([{name: theirs[name]}], runner_name="ONNX Runtime")
    judge = SimpleCompareFunc(atol=allowed, rtol=0.0, check_error_stat="mean")
    accuracy = Comparator.compare_accuracy(results, compare_func=judge)
    ((compared,),) = accuracy[0].values()
    found = compared[name]
    mean, largest = float(found.mean_absdiff), float(found.max_absdiff)
    return EngineCheck(name, bool(accuracy) and math.isfinite(mean), mean, largest, allowed)


def _typed(bundle: Bundle, precision: str, role: str, feed: Feed) -> dict[str, Any]:
    """Gives inputs in the types of a graph: in bfloat16, which numpy has not, as torch tensors, so
    that Polygraphy gives such outputs too.
    """
    types = {tensor.name: tensor.dtype for tensor in bundle.graphs(precision)[role].inputs}
    if precision != "bf16":
        return {name: values.astype(types[name]) for name, values in feed.items()}
    import torch

    return {
        name: torch.from_numpy(values).to(getattr(torch, types[name]))
        for name, values in feed.items()
    }


def _as_floats(values: Any) -> NDArray[np.float32]:  # noqa: ANN401
    return np.asarray(
        values if isinstance(values, np.ndarray) else values.float().cpu(), np.float32
    )


@contextmanager
def _polygraphy(library: Library, role: str) -> Iterator[None]:
    """Makes Polygraphy use the installed TensorRT and be quiet; its errors become ours."""
    import polygraphy.config
    from polygraphy.logger import G_LOGGER

    polygraphy.config.USE_TENSORRT_RTX = library.is_rtx
    try:
        with G_LOGGER.verbosity(G_LOGGER.CRITICAL):
            yield
    except PcsrError:
        raise
    except Exception as error:  # of Polygraphy, of CUDA through it, or of ONNX Runtime
        raise EngineError(f"Polygraphy cannot run {role}: {one_line(str(error))}") from error


def _write(file: Path, checks: Mapping[str, EngineCheck], gpu: LocalGpu) -> None:
    import onnxruntime
    import polygraphy

    report = {
        "format": FORMAT,
        "format_version": 1,
        "gpu": gpu.name,
        "onnxruntime": onnxruntime.__version__,
        "polygraphy": polygraphy.__version__,
        "engines": {role: check.to_json() for role, check in checks.items()},
    }
    with atomic_file(file, overwrite=True) as temporary:
        temporary.write_text(json.dumps(report, indent=2, allow_nan=False) + "\n", encoding="utf-8")
