"""Checkpoint -> verified bundle."""

import hashlib
import math
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import onnxscript
import torch
from tabulate import tabulate

import pcsr
from pcsr.atomic import atomic_directory
from pcsr.bundle import MANIFEST, Bundle, is_bundle
from pcsr.errors import OutputError
from pcsr.manifest import COST_LR_SIZE, Costs, File, Graph, Manifest, Model
from pcsr.models import PCSR, PlainNetwork
from pcsr.models.checkpoint import Checkpoint, read_checkpoint
from pcsr.models.flops import count_flops
from pcsr.models.liif import POSITION_WIDTH
from pcsr.models.pcsr import feature_width

from .analysis import count_macs, receptive_radius, working_bytes
from .channels import pad_channels
from .folding import FoldedMlp, mlp_arrays
from .network import Settings, build_network, completed, trained_scale
from .onnx_graph import GraphSource, describe_graph, export_graph, graph_sources
from .verify import Check, verify_bundle

PRECISION = "fp32"
MLPS = f"{PRECISION}/mlps.npz"
MAC_SIZE = 16


@dataclass(frozen=True)
class ExportOptions:
    """opset: of the ONNX graphs. overwrite: whether an existing bundle may be replaced."""

    settings: Settings = field(default_factory=Settings)
    opset: int = 20
    overwrite: bool = False


@dataclass(frozen=True)
class Exported:
    """A bundle that was written, and how it compared with PyTorch."""

    bundle: Bundle
    checks: Sequence[Check]


def export_bundle(
    checkpoint_path: Path,
    output: Path,
    options: ExportOptions,
    say: Callable[[str], object] = lambda message: None,
) -> Exported:
    """Exports a checkpoint to a bundle, verified against PyTorch; nothing is written unless all of
    it holds. `say` is told what is being done.

    Raises:
        CheckpointError: the checkpoint cannot be read or does not fit.
        VerificationError: a graph or the pipeline differs from PyTorch beyond tolerance.
        OutputError: `output` exists (without `overwrite`), is not a bundle, or cannot be written.
    """
    check_output(output, options.overwrite)
    checkpoint = read_checkpoint(checkpoint_path)
    options = replace(options, settings=completed(options.settings, checkpoint))
    network = build_network(checkpoint, options.settings)
    sources = graph_sources(network)
    say(f"exporting {len(sources)} graphs of {checkpoint_path} …")
    models = {source.role: _export(source, checkpoint, network, options) for source in sources}
    with atomic_directory(output) as directory:
        graphs = {role: _write(model, role, directory) for role, model in models.items()}
        mlps = _write_mlps(sources, directory)
        manifest = Manifest(
            kind="pcsr" if isinstance(network, PCSR) else "plain",
            model=_model(checkpoint, network, models),
            trained_scale=trained_scale(network, options.settings),
            costs=_costs(network, models),
            graphs={PRECISION: graphs},
            mlps=mlps,
            opset=options.opset,
            checkpoint_sha256=checkpoint.sha256,
            tools=_tools(),
            verification=(),
        )
        _write_manifest(manifest, directory)
        say("comparing them with PyTorch …")
        checks = verify_bundle(directory, network, sources)
        _write_manifest(replace(manifest, verification=[c.to_json() for c in checks]), directory)
    return Exported(Bundle.load(output), checks)


def format_report(exported: Exported) -> str:
    """What was written and the table of comparisons, for a terminal."""
    rows = [
        (
            check.what,
            f"{check.lr_size[0]}x{check.lr_size[1]}",
            "" if check.scale is None else f"x{check.scale:g}",
            f"{check.max_abs_diff:.1e}",
            f"{check.tolerance:.0e}",
            f"{check.rerouted_px} of {check.pixels}" if check.pixels else "",
        )
        for check in exported.checks
    ]
    head = ("compared with PyTorch", "input", "scale", "max diff", "allowed", "rerouted pixels")
    table = tabulate(rows, head, disable_numparse=True)
    bundle = exported.bundle
    return f"{table}\nwrote {bundle.path} ({bundle.kind}, all {len(rows)} comparisons passed)"


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


def _export(
    source: GraphSource,
    checkpoint: Checkpoint,
    network: PCSR | PlainNetwork,
    options: ExportOptions,
) -> onnx.ModelProto:
    backbone = checkpoint.description.backbone
    metadata = {
        "pcsr.version": pcsr.__version__,
        "pcsr.role": source.role,
        "pcsr.kind": "pcsr" if isinstance(network, PCSR) else "plain",
        "pcsr.precision": PRECISION,
        "pcsr.backbone": backbone,
        "pcsr.trained_scale": f"{trained_scale(network, options.settings):g}",
        "pcsr.checkpoint_sha256": checkpoint.sha256,
    }
    name = f"{backbone}_{source.role}_{PRECISION}_{checkpoint.sha256[:12]}"
    model = export_graph(source, name, options.opset, metadata)
    return pad_channels(model) if "image" in source.example else model


def _write(model: onnx.ModelProto, role: str, directory: Path) -> Graph:
    file = f"{PRECISION}/{role}.onnx"
    data = model.SerializeToString(deterministic=True)
    (directory / PRECISION).mkdir(exist_ok=True)
    (directory / file).write_bytes(data)
    return describe_graph(model, file, hashlib.sha256(data).hexdigest())


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
    path = directory / MLPS
    np.savez(path, **arrays)  # type: ignore[arg-type]  # numpy types keywords as its own options
    return File(MLPS, hashlib.sha256(path.read_bytes()).hexdigest())


def _write_manifest(manifest: Manifest, directory: Path) -> None:
    (directory / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")


def _model(
    checkpoint: Checkpoint, network: PCSR | PlainNetwork, models: dict[str, onnx.ModelProto]
) -> Model:
    what = checkpoint.description
    is_pcsr = isinstance(network, PCSR)
    return Model(
        backbone=what.backbone,
        backbone_args=what.backbone_args,
        feature_width=feature_width(network.encoder) if isinstance(network, PCSR) else 0,
        upsampler_widths=what.upsampler_widths,
        classifier_widths=what.classifier_widths,
        receptive_radius_px=receptive_radius(models["backbone"]) if is_pcsr else None,
        working_bytes_per_px=_working_bytes(models["backbone" if is_pcsr else "network"]),
        mean=_rounded(network.mean),
        std=_rounded(network.std),
    )


def _rounded(values: torch.Tensor) -> tuple[float, ...]:
    return tuple(float(f"{value:.7g}") for value in values.flatten().tolist())


def _costs(network: PCSR | PlainNetwork, models: dict[str, onnx.ModelProto]) -> Costs:
    if isinstance(network, PlainNetwork):
        image = torch.zeros(1, 3, COST_LR_SIZE, COST_LR_SIZE)
        flops, macs = count_flops(network, image), _macs_per_input_pixel(models["network"])
        return Costs(flops, 0, (), macs, 0, ())
    flops, upsamplers = network.cost_flops(1)
    row_macs = {role: _macs_per_row(model) for role, model in models.items() if role != "backbone"}
    classifier_macs = row_macs.pop("classifier", 0)
    classifier_flops = (
        count_flops(network.classifier.imnet, _query(network)) if classifier_macs else 0
    )
    return Costs(
        backbone_flops=flops,
        classifier_flops=classifier_flops,
        upsampler_flops=tuple(work // COST_LR_SIZE**2 for work in upsamplers),
        backbone_macs=_macs_per_input_pixel(models["backbone"]),
        classifier_macs=classifier_macs,
        upsampler_macs=tuple(row_macs.values()),
    )


def _query(network: PCSR) -> torch.Tensor:
    return torch.zeros(1, feature_width(network.encoder) + POSITION_WIDTH)


def _macs_per_input_pixel(model: onnx.ModelProto) -> float:
    return count_macs(model, h=MAC_SIZE, w=MAC_SIZE) / MAC_SIZE**2


def _working_bytes(model: onnx.ModelProto) -> int:
    return math.ceil(working_bytes(model, h=MAC_SIZE, w=MAC_SIZE) / MAC_SIZE**2)


def _macs_per_row(model: onnx.ModelProto) -> int:
    return count_macs(model, pixels=1, rows=2) - count_macs(model, pixels=1, rows=1)


def _tools() -> dict[str, str]:
    return {
        "pcsr": pcsr.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "onnx": onnx.__version__,
        "onnxscript": onnxscript.__version__,
        "onnxruntime": onnxruntime.__version__,
        "numpy": np.__version__,
    }
