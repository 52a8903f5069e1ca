"""Exports a checkpoint to a verified bundle."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import onnx

import pcsr
from pcsr.amend import Folder
from pcsr.atomic import atomic_directory
from pcsr.bundle import MANIFEST, Bundle, is_bundle
from pcsr.errors import BundleError, OutputError, UsageError, VerificationError
from pcsr.manifest import IMAGE_OUTPUTS, File, Graph, Kind, Manifest
from pcsr.models import PCSR, PlainNetwork
from pcsr.models.checkpoint import Checkpoint, read_checkpoint
from pcsr.models.values import shown_error

from .description import count_costs, describe_model, image_graph, tool_versions
from .graphs.channel_padding import GPU_BLOCK, pad_channels
from .graphs.feature_widening import widen_features
from .graphs.folding import FoldedBackbone, FoldedMlp, mlp_arrays
from .graphs.half_precision import TYPES, to_half_precision
from .graphs.join_splitting import split_joins
from .graphs.onnx_graph import (
    GraphSource,
    check_deployable,
    describe_graph,
    export_graph,
    graph_sources,
    label_graph,
)
from .network import NetworkSettings, build_network, completed, refines, trained_scale
from .tiling import NEVER_TILED, tiling_radius
from .verification.checks import AnyCheck, format_checks
from .verification.fp32 import verify_bundle
from .verification.half import verify_typed
from .verification.vectors import write_vectors

PRECISIONS = ("fp32", *TYPES)
MLPS = "fp32/mlps.npz"
VECTORS = "verification.npz"
Models = Mapping[str, onnx.ModelProto]


@dataclass(frozen=True)
class ExportOptions:
    """Says what an export makes of a checkpoint."""

    settings: NetworkSettings = field(default_factory=NetworkSettings)
    """What the checkpoint does not say of its network."""
    opset: int = 20
    """The opset of the ONNX graphs; bf16 needs at least 22 and gets that."""
    overwrite: bool = False
    precisions: Sequence[str] = ("fp32",)
    """The sets of graphs to write, of `fp32`, `fp16` and `bf16`; fp32 is always one."""
    whole_image: bool = False
    """Whether a plain network is exported for whole images, which are never cut into tiles."""


@dataclass(frozen=True)
class ExportResult:
    """Holds a bundle that was written, and how it compared with PyTorch."""

    bundle: Bundle
    checks: Sequence[AnyCheck]


def export_bundle(
    checkpoint_path: Path,
    output: Path,
    options: ExportOptions,
    say: Callable[[str], object] = lambda message: None,
) -> ExportResult:
    """Exports a checkpoint to a bundle, verified against PyTorch; nothing is written unless all of
    it holds. `say` is told what is being done.

    Examples:
        >>> from pathlib import Path
        >>> from pcsr.export.exporter import ExportOptions, export_bundle
        >>> exported = export_bundle(Path("network.pth"), Path("bundle"), ExportOptions())
        >>> exported.bundle.kind, exported.bundle.upsamplers
        ('pcsr', 2)
        >>> len(exported.checks) > 0  # the comparisons with PyTorch; all hold, or it had raised
        True

    Raises:
        UsageError: an unknown precision; or whole_image for PCSR.
        CheckpointError: the checkpoint cannot be read or does not fit; or a plain network that
            cannot be cut into exact tiles, without whole_image.
        VerificationError: a graph or the pipeline differs from PyTorch beyond tolerance, a number
            is too large for a precision, or the network for a bundle.
        OutputError: `output` exists (without `overwrite`), is not a bundle, or cannot be written.
    """
    precisions = check_precisions(options.precisions)
    check_output(output, options.overwrite)
    checkpoint = read_checkpoint(checkpoint_path)
    settings = completed(options.settings, checkpoint)
    network = build_network(checkpoint, settings)
    scale = trained_scale(network, settings)
    export = _Export(checkpoint, network, graph_sources(network), scale, options.opset)
    count = len(export.sources)
    what = "1 graph" if count == 1 else f"{count} graphs"
    say(f"exporting {what} of {checkpoint_path} …")
    exported = {source.role: _exported(source, options.opset) for source in export.sources}
    radius_px = tiling_radius(checkpoint, network, image_graph(exported), options.whole_image)
    if options.whole_image:
        say(NEVER_TILED)
    sets = {precision: _finished(exported, precision) for precision in precisions}
    replaces = partial(check_output, overwrite=options.overwrite)
    with atomic_directory(output, options.overwrite, replaces) as directory:
        graphs = {
            name: export.write_graphs(models, name, directory) for name, models in sets.items()
        }
        say("computing what PyTorch makes of sample images …")
        write_vectors(directory / VECTORS, network, scale)
        manifest = export.manifest(sets["fp32"], graphs, directory, radius_px)
        _write_manifest(manifest, directory)
        say("comparing fp32 with PyTorch …")
        with _within_limits():
            checks: list[AnyCheck] = [*verify_bundle(directory, network, export.sources)]
        for precision in precisions[1:]:
            say(f"comparing {precision} with PyTorch …")
            checks += verify_typed(directory, network, export.sources, precision)
        _write_manifest(replace(manifest, verification=[asdict(c) for c in checks]), directory)
    return ExportResult(Bundle.load(output), checks)


@contextmanager
def _within_limits() -> Iterator[None]:
    """Raises VerificationError where the bundle just written is beyond the limits of its format."""
    try:
        yield
    except BundleError as error:
        raise VerificationError(
            f"the network is beyond what bundles hold: {shown_error(_cause(error))}; it cannot be "
            "exported"
        ) from error


def _cause(error: BundleError) -> Exception:
    return error.__cause__ if isinstance(error.__cause__, Exception) else error


@dataclass(frozen=True)
class _Export:
    """Holds what a bundle is written from."""

    checkpoint: Checkpoint
    network: PCSR | PlainNetwork
    sources: Sequence[GraphSource]
    scale: float
    """The scale that the network was trained for."""
    opset: int

    @property
    def kind(self) -> Kind:
        return "pcsr" if isinstance(self.network, PCSR) else "plain"

    def write_graphs(self, models: Models, precision: str, directory: Path) -> dict[str, Graph]:
        """Writes the graphs of one precision; returns the manifest's entries."""
        (directory / precision).mkdir()
        return {
            role: self._write(model, role, precision, directory) for role, model in models.items()
        }

    def _write(self, model: onnx.ModelProto, role: str, precision: str, directory: Path) -> Graph:
        backbone, sha256 = self.checkpoint.description.backbone, self.checkpoint.sha256
        metadata = {
            "pcsr.version": pcsr.__version__,
            "pcsr.kind": self.kind,
            "pcsr.backbone": backbone,
            "pcsr.trained_scale": f"{self.scale:g}",
            "pcsr.checkpoint_sha256": sha256,
            "pcsr.role": role,
            "pcsr.precision": precision,
        }
        label_graph(model, f"{backbone}_{role}_{precision}_{sha256[:12]}", metadata)
        name = f"{precision}/{role}.onnx"
        data = model.SerializeToString(deterministic=True)
        check_deployable(data, role)
        (directory / name).write_bytes(data)
        return describe_graph(model, _file(name, directory))

    def manifest(
        self,
        models: Models,
        graphs: Mapping[str, Mapping[str, Graph]],
        directory: Path,
        radius_px: int | None,
    ) -> Manifest:
        """Makes the manifest before verification. models: the float32 graphs."""
        return Manifest(
            kind=self.kind,
            model=describe_model(self.checkpoint, self.network, models, radius_px),
            trained_scale=self.scale,
            refine=refines(self.checkpoint),
            costs=count_costs(self.network, models),
            graphs=graphs,
            mlps=_write_mlps(self.sources, directory),
            vectors=_file(VECTORS, directory),
            opset=self.opset,
            checkpoint_sha256=self.checkpoint.sha256,
            tools=tool_versions(),
            verification=(),
        )


def format_report(exported: ExportResult) -> str:
    """Formats what was written and the tables of comparisons, for a terminal."""
    bundle, count = exported.bundle, len(exported.checks)
    table = format_checks(exported.checks)
    return f"{table}\nwrote {bundle.path} ({bundle.kind}, all {count} comparisons passed)"


def check_precisions(names: Sequence[str]) -> tuple[str, ...]:
    """Lists the precisions to export, fp32 first, which always is one.

    Raises:
        UsageError: one that there is not.
    """
    unknown = [name for name in names if name not in PRECISIONS]
    if unknown:
        raise UsageError(
            f"unknown precision '{unknown[0]}' (known: {', '.join(PRECISIONS)}); int8 and fp8 are "
            "made of a bundle, by pcsr-calibrate precision"
        )
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
    if is_bundle(output):
        if not overwrite:
            raise OutputError(
                f"{output} exists; pass --overwrite to replace it, or choose another name"
            )
    elif exists and (output.is_file() or any(output.iterdir())):
        raise OutputError(
            f"{output} exists and is not a bundle; it is left alone, choose another name"
        )


def _exported(source: GraphSource, opset: int) -> onnx.ModelProto:
    """Exports a graph in float32, with the channels that its outputs have in all precisions."""
    model = export_graph(source, opset)
    if isinstance(source.module, FoldedBackbone):
        return widen_features(model, source.module)
    return model


def _finished(exported: Models, precision: str) -> dict[str, onnx.ModelProto]:
    """Makes the graphs of one precision. Joins are split for CPUs, which run fp32."""
    finished = {}
    for role, model in exported.items():
        takes_image = role in IMAGE_OUTPUTS
        if precision == "fp32":
            finished[role] = pad_channels(split_joins(model)) if takes_image else model
        else:
            model = pad_channels(model, GPU_BLOCK) if takes_image else model
            finished[role] = to_half_precision(model, role, precision)
    return finished


def _write_mlps(sources: Sequence[GraphSource], directory: Path) -> File | None:
    arrays = {
        f"{source.role}.{name}": array
        for source in sources
        if isinstance(source.module, FoldedMlp)
        for name, array in mlp_arrays(source.module).items()
    }
    if not arrays:
        return None
    np.savez(directory / MLPS, **arrays)  # type: ignore[arg-type]  # numpy types keywords as its own options
    return _file(MLPS, directory)


def _file(name: str, directory: Path) -> File:
    return Folder(directory, directory).file(name)


def _write_manifest(manifest: Manifest, directory: Path) -> None:
    (directory / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
