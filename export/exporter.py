"""Checkpoint -> verified bundle."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnx

import pcsr
from pcsr.atomic import atomic_directory
from pcsr.bundle import MANIFEST, Bundle, is_bundle
from pcsr.errors import OutputError, UsageError
from pcsr.manifest import File, Graph, Manifest
from pcsr.models import PCSR, PlainNetwork
from pcsr.models.checkpoint import Checkpoint, read_checkpoint

from .description import count_costs, describe_model, tool_versions
from .graphs.channel_padding import GPU_BLOCK, pad_channels
from .graphs.folding import FoldedMlp, mlp_arrays
from .graphs.half_precision import TYPES, to_half_precision
from .graphs.join_splitting import split_joins
from .graphs.onnx_graph import GraphSource, describe_graph, export_graph, graph_sources, label_graph
from .network import Settings, build_network, completed, trained_scale
from .verification.checks import AnyCheck, format_checks
from .verification.fp32 import verify_bundle
from .verification.half import verify_typed
from .verification.vectors import write_vectors

PRECISIONS = ("fp32", *TYPES)
MLPS = "fp32/mlps.npz"
VECTORS = "verification.npz"
Network = PCSR | PlainNetwork
Models = Mapping[str, onnx.ModelProto]


@dataclass(frozen=True)
class ExportOptions:
    """opset: of the ONNX graphs; bf16 needs at least 22 and gets that. overwrite: whether an
    existing bundle may be replaced. precisions: see `check_precisions`.
    """

    settings: Settings = field(default_factory=Settings)
    opset: int = 20
    overwrite: bool = False
    precisions: Sequence[str] = ("fp32",)


@dataclass(frozen=True)
class Exported:
    """A bundle that was written, and how it compared with PyTorch."""

    bundle: Bundle
    checks: Sequence[AnyCheck]


def export_bundle(
    checkpoint_path: Path,
    output: Path,
    options: ExportOptions,
    say: Callable[[str], object] = lambda message: None,
) -> Exported:
    """Exports a checkpoint to a bundle, verified against PyTorch; nothing is written unless all of
    it holds. `say` is told what is being done.

    Raises:
        UsageError: an unknown precision.
        CheckpointError: the checkpoint cannot be read or does not fit.
        VerificationError: a graph or the pipeline differs from PyTorch beyond tolerance, or a
            number is too large for a precision.
        OutputError: `output` exists (without `overwrite`), is not a bundle, or cannot be written.
    """
    precisions = check_precisions(options.precisions)
    check_output(output, options.overwrite)
    checkpoint = read_checkpoint(checkpoint_path)
    options = replace(options, settings=completed(options.settings, checkpoint))
    network = build_network(checkpoint, options.settings)
    sources = graph_sources(network)
    say(f"exporting {len(sources)} graphs of {checkpoint_path} …")
    exported = {source.role: export_graph(source, options.opset) for source in sources}
    sets = {precision: _finished(exported, precision) for precision in precisions}
    metadata = _metadata(checkpoint, network, options)
    with atomic_directory(output) as directory:
        graphs = {
            precision: {
                role: _write(model, role, precision, metadata, directory)
                for role, model in models.items()
            }
            for precision, models in sets.items()
        }
        mlps = _write_mlps(sources, directory)
        say("computing what PyTorch makes of sample pictures …")
        write_vectors(directory / VECTORS, network, trained_scale(network, options.settings))
        manifest = Manifest(
            kind="pcsr" if isinstance(network, PCSR) else "plain",
            model=describe_model(checkpoint, network, sets["fp32"]),
            trained_scale=trained_scale(network, options.settings),
            costs=count_costs(network, sets["fp32"]),
            graphs=graphs,
            mlps=mlps,
            vectors=_file(VECTORS, directory),
            opset=options.opset,
            checkpoint_sha256=checkpoint.sha256,
            tools=tool_versions(),
            verification=(),
        )
        _write_manifest(manifest, directory)
        checks: list[AnyCheck] = []
        for precision in precisions:
            say(f"comparing {precision} with PyTorch …")
            checks += _verify(directory, network, sources, precision)
        _write_manifest(replace(manifest, verification=[c.to_json() for c in checks]), directory)
    return Exported(Bundle.load(output), checks)


def format_report(exported: Exported) -> str:
    """What was written and the tables of comparisons, for a terminal."""
    bundle, count = exported.bundle, len(exported.checks)
    table = format_checks(exported.checks)
    return f"{table}\nwrote {bundle.path} ({bundle.kind}, all {count} comparisons passed)"


def check_precisions(names: Sequence[str]) -> tuple[str, ...]:
    """The precisions to export, fp32 first, which always is.

    Raises:
        UsageError: one that there is not.
    """
    unknown = [name for name in names if name not in PRECISIONS]
    if unknown:
        raise UsageError(f"unknown precision '{unknown[0]}' (known: {', '.join(PRECISIONS)})")
    return tuple(name for name in PRECISIONS if name == "fp32" or name in names)


def check_output(output: Path, overwrite: bool) -> None:
    """Raises OutputError where a bundle may not be written at `output`."""
    try:
        has_parent, exists = output.parent.is_dir(), output.exists()
    except OSError as error:
        raise OutputError(f"cannot write {output}: {error.strerror}") from error
    if not has_parent:
        raise OutputError(
            f"cannot write {output}: {output.parent} is not a directory; create it first"
        )
    if not exists:
        return
    if not is_bundle(output) and (output.is_file() or any(output.iterdir())):
        raise OutputError(
            f"{output} exists and is not a bundle; it is left alone, choose another name"
        )
    if not overwrite and is_bundle(output):
        raise OutputError(
            f"{output} exists; pass --overwrite to replace it, or choose another name"
        )


def _finished(exported: Models, precision: str) -> dict[str, onnx.ModelProto]:
    """The graphs of one precision. Joins are split for CPUs, which run fp32."""
    finished = {}
    for role, model in exported.items():
        is_image_graph = role in ("backbone", "network")
        if precision == "fp32":
            finished[role] = pad_channels(split_joins(model)) if is_image_graph else model
        else:
            model = pad_channels(model, GPU_BLOCK) if is_image_graph else model
            finished[role] = to_half_precision(model, role, precision)
    return finished


def _metadata(checkpoint: Checkpoint, network: Network, options: ExportOptions) -> dict[str, str]:
    return {
        "pcsr.version": pcsr.__version__,
        "pcsr.kind": "pcsr" if isinstance(network, PCSR) else "plain",
        "pcsr.backbone": checkpoint.description.backbone,
        "pcsr.trained_scale": f"{trained_scale(network, options.settings):g}",
        "pcsr.checkpoint_sha256": checkpoint.sha256,
    }


def _write(
    model: onnx.ModelProto,
    role: str,
    precision: str,
    metadata: Mapping[str, str],
    directory: Path,
) -> Graph:
    backbone, sha256 = metadata["pcsr.backbone"], metadata["pcsr.checkpoint_sha256"]
    name = f"{backbone}_{role}_{precision}_{sha256[:12]}"
    label_graph(model, name, {**metadata, "pcsr.role": role, "pcsr.precision": precision})
    file = f"{precision}/{role}.onnx"
    data = model.SerializeToString(deterministic=True)
    (directory / precision).mkdir(exist_ok=True)
    (directory / file).write_bytes(data)
    return describe_graph(model, file, hashlib.sha256(data).hexdigest())


def _verify(
    directory: Path, network: Network, sources: Sequence[GraphSource], precision: str
) -> Sequence[AnyCheck]:
    if precision == "fp32":
        return verify_bundle(directory, network, sources)
    return verify_typed(directory, network, sources, precision)


def _write_mlps(sources: Sequence[GraphSource], directory: Path) -> File | None:
    mlps = {source.role: source.module for source in sources}
    arrays = {
        f"{role}.{name}": array
        for role, mlp in mlps.items()
        if isinstance(mlp, FoldedMlp)
        for name, array in mlp_arrays(mlp).items()
    }
    if not arrays:
        return None
    np.savez(directory / MLPS, **arrays)  # type: ignore[arg-type]  # numpy types keywords as its own options
    return _file(MLPS, directory)


def _file(name: str, directory: Path) -> File:
    return File(name, hashlib.sha256((directory / name).read_bytes()).hexdigest())


def _write_manifest(manifest: Manifest, directory: Path) -> None:
    (directory / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
