"""Says to which precisions and hosts a network can go, and why not to others."""

from collections.abc import Sequence
from dataclasses import dataclass

from pcsr.errors import VerificationError
from pcsr.export.graphs.half_precision import TYPES, to_half_precision
from pcsr.export.graphs.layers import Layers
from pcsr.export.graphs.onnx_graph import FORBIDDEN
from pcsr.manifest import IMAGE_OUTPUTS
from pcsr.reading.graph import read_graph_shapes
from pcsr.runtime.torch_backend.operators import OPERATORS

from .subject import Subject

KEPT_LAYERS = 2  # of the convolutions: the first and the last stay in float32
QUANTISED = ("int8", "fp8")
HOSTS: Sequence[tuple[str, str, tuple[str, ...]]] = (
    ("native", "cpu", ("fp32", "bf16", "int8")),
    ("onnxruntime", "cpu", ("fp32", "fp16", "int8")),
    ("onnxruntime", "cuda", ("fp32", "fp16")),
    ("torch", "cpu", ("fp32", "fp16", "bf16")),
    ("torch", "cuda", ("fp32", "fp16", "bf16")),
    ("tensorrt", "cuda", ("fp32", "fp16", "bf16", "int8", "fp8")),
)
"""What each backend runs (`runtime/backends.py`), whatever the network."""


@dataclass(frozen=True)
class Precision:
    """Whether a network can be had in a precision."""

    name: str
    possible: bool
    there: bool
    """Whether the bundle has its graphs."""
    note: str
    """How to get it, or why it cannot be had."""


@dataclass(frozen=True)
class Host:
    """What a backend on a device can run of a network."""

    backend: str
    device: str
    precisions: tuple[str, ...]
    reason: str | None
    """Why none; None where it runs some."""


def find_precisions(subject: Subject, is_tiled: bool) -> list[Precision]:
    """Tries what export and calibration would refuse; images are compared only there.

    is_tiled: whether it can be cut into exact tiles.
    """
    there = [] if subject.bundle is None else [*subject.bundle.manifest.graphs]
    export = "pcsr-export --whole-image" if subject.is_plain and not is_tiled else "pcsr-export"
    refused = _refused_by_bundles(subject)
    reasons = {"fp32": None} | {name: _half_refused(subject, name) for name in TYPES}
    reasons |= dict.fromkeys(QUANTISED, _quantised_refused(subject))
    return [_precision(name, refused or why, there, export) for name, why in reasons.items()]


def find_hosts(subject: Subject, precisions: Sequence[Precision]) -> list[Host]:
    """Lists the backends, each with those of the precisions that it runs."""
    possible = {one.name for one in precisions if one.possible}
    operators = _operators(subject)
    found = []
    for backend, device, able in HOSTS:
        reason = None if possible else precisions[0].note
        if backend == "torch" and (unknown := operators - OPERATORS.keys()):
            reason = f"the torch backend does not know the ONNX operator {min(unknown)}"
        runs = () if reason else tuple(name for name in able if name in possible)
        found.append(Host(backend, device, runs, reason))
    return found


def _precision(name: str, refused: str | None, there: Sequence[str], export: str) -> Precision:
    if name in there:
        return Precision(name, True, True, "in the bundle")
    if refused:
        return Precision(name, False, False, refused)
    how = export if name == "fp32" else f"{export} --precision {name}"
    if name in QUANTISED:
        how = f"pcsr-calibrate precision --format {name}, of the bundle"
    return Precision(name, True, False, how)


def _operators(subject: Subject) -> set[str]:
    return {
        node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}::{node.op_type}"
        for node in subject.graph.graph.node
    }


def _refused_by_bundles(subject: Subject) -> str | None:
    """Says why a bundle cannot hold the graph, as its reader and the export say it."""
    forbidden = FORBIDDEN & _operators(subject)
    try:
        read_graph_shapes(subject.graph.SerializeToString())
    except ValueError as error:
        return f"bundles do not hold such a graph: {error}"
    return f"{min(forbidden)} cannot be deployed" if forbidden else None


def _half_refused(subject: Subject, precision: str) -> str | None:
    role = next(role for role, name in IMAGE_OUTPUTS.items() if name == _output(subject))
    try:
        to_half_precision(subject.graph, role, precision)
    except VerificationError as error:
        return str(error).partition("; ")[0]
    return None


def _output(subject: Subject) -> str:
    return str(subject.graph.graph.output[0].name)


def _quantised_refused(subject: Subject) -> str | None:
    count = len(Layers(subject.graph).convolutions)
    if count > KEPT_LAYERS:
        return None
    return f"it has {count} convolutions, and the first and the last stay in float32"
