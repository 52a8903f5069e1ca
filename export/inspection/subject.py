"""Reads what is inspected, a checkpoint or a bundle, into one form."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import onnx
import torch

from pcsr.bundle import MANIFEST, Bundle
from pcsr.errors import VerificationError
from pcsr.export.graphs.layers import Layers
from pcsr.export.graphs.onnx_graph import GraphSource, export_graph, graph_sources
from pcsr.export.network import NetworkSettings, build_network, completed, trained_scale
from pcsr.manifest import classifier_outputs
from pcsr.models import PCSR
from pcsr.models.checkpoint import Description, read_checkpoint
from pcsr.models.liif import UpsamplerSpec
from pcsr.models.pcsr import feature_width

from .mlps import MlpWork, Parts, mlp_work
from .tail import PROBE, GraphWork, ImageWork

OPSET = 20
Kind = Literal["pcsr", "liif", "plain"]


@dataclass(frozen=True)
class Subject:
    """What is inspected."""

    path: Path
    form: Literal["checkpoint", "bundle"]
    kind: Kind
    """`liif` is a PCSR network of one upsampler that gives the colour itself."""
    architecture: str
    arguments: Mapping[str, Any]
    trained_scale: float
    parameters: int
    feature_width: int
    """The channels of the features; 0 for a plain network."""
    upsamplers: Sequence[Mapping[str, Any]]
    """How each is made, heaviest first."""
    classifier_widths: Sequence[int] | None
    graph: onnx.ModelProto
    """The graph that takes the image, in float32."""
    image_work: ImageWork
    """Of that graph, without what belongs to the MLPs."""
    mlps: Parts
    bundle: Bundle | None

    @property
    def is_plain(self) -> bool:
        """Tells whether it is a network with a tail of its own."""
        return self.kind == "plain"


def read_subject(path: Path) -> Subject:
    """Reads a checkpoint, whose graph is exported in memory, or a bundle.

    Raises:
        CheckpointError, BundleError: it is neither, or it is damaged.
        VerificationError: its graph cannot be exported, or its work not be counted.
    """
    return _of_bundle(Bundle.load(path)) if is_folder(path) else _of_checkpoint(path)


def is_folder(path: Path) -> bool:
    """Tells whether a path is read as a bundle, and no checkpoint."""
    try:
        return path.is_dir() or path.name == MANIFEST
    except OSError:
        return False  # the reader of checkpoints says why


def _of_checkpoint(path: Path) -> Subject:
    checkpoint = read_checkpoint(path)
    settings = completed(NetworkSettings(), checkpoint)
    network, what = build_network(checkpoint, settings), checkpoint.description
    source = graph_sources(network)[0]
    graph = export_graph(source, OPSET)
    parts = _parts(what, network) if isinstance(network, PCSR) else {}
    return Subject(
        path=path,
        form="checkpoint",
        kind=kind_of([spec.base for spec in what.upsamplers]),
        architecture=what.backbone,
        arguments=what.backbone_args,
        trained_scale=trained_scale(network, settings),
        parameters=sum(weight.numel() for weight in network.parameters()),
        feature_width=feature_width(network.encoder) if isinstance(network, PCSR) else 0,
        upsamplers=[_described(spec) for spec in what.upsamplers],
        classifier_widths=what.classifier_widths,
        graph=graph,
        image_work=_image_work(_counted(graph, source), what.upsamplers, parts),
        mlps=parts,
        bundle=None,
    )


def _counted(graph: onnx.ModelProto, source: GraphSource) -> GraphWork:
    """Counts a graph; where its shapes are not known, the one for an image of a fixed size."""
    try:
        return GraphWork.of(graph)
    except VerificationError:
        example = {"image": torch.zeros(1, 3, *PROBE)}
        fixed = replace(source, example=example, dynamic={"image": {}})
        return GraphWork.of(export_graph(fixed, OPSET))


def _image_work(work: GraphWork, upsamplers: Sequence[UpsamplerSpec], parts: Parts) -> ImageWork:
    """Counts the work of a network; of PCSR that of the backbone alone: first layers that unfold
    features are in its graph, and belong to the upsamplers.
    """
    if not parts:
        return work.split()
    unfolding = [f"upsampler_{j}" for j, spec in enumerate(upsamplers) if spec.unfold]
    first_layers = sum(parts[role].input_macs for role in unfolding)
    return ImageWork(work.macs_towards("features") - first_layers, 0.0, None)


def kind_of(bases: Sequence[str]) -> Kind:
    """Tells the kind of a network by the bases of its upsamplers."""
    return "plain" if not bases else "liif" if [*bases] == ["none"] else "pcsr"


def _described(spec: UpsamplerSpec) -> dict[str, Any]:
    names = ("widths", "neighbours", "base", "unfold", "cell")
    return {name: getattr(spec, name) for name in names}


def _parts(what: Description, network: PCSR) -> dict[str, MlpWork]:
    width, count = feature_width(network.encoder), len(what.upsamplers)
    parts = {f"upsampler_{j}": mlp_work(u, width, 3, 3) for j, u in enumerate(what.upsamplers)}
    if what.classifier_widths is None:
        return parts
    spec = UpsamplerSpec(what.classifier_widths)
    return {"classifier": mlp_work(spec, width, count, classifier_outputs(count)), **parts}


def _of_bundle(bundle: Bundle) -> Subject:
    manifest, model = bundle.manifest, bundle.manifest.model
    roles = bundle.graphs("fp32")
    graphs = {role: onnx.load_from_string(bundle.graph_bytes(role)) for role in roles}
    graph = graphs[bundle.image_role]
    work = GraphWork.of(graph)
    macs = [manifest.costs.classifier_macs, *manifest.costs.upsampler_macs]
    uppers = (f"upsampler_{j}" for j in range(bundle.upsamplers))
    backbone = work.macs_towards(bundle.image_output)
    parts = {
        role: MlpWork(work.macs_towards(f"{role}_features") - backbone, rows)
        for role, rows in zip(("classifier", *uppers), macs, strict=True)
        if role in graphs
    }
    return Subject(
        path=bundle.path,
        form="bundle",
        kind=kind_of([each.base for each in model.upsamplers]),
        architecture=model.backbone,
        arguments=model.backbone_args,
        trained_scale=manifest.trained_scale,
        parameters=sum(_parameters(each) for each in graphs.values()),
        feature_width=model.feature_width,
        upsamplers=[
            {"widths": u.widths, "neighbours": u.neighbours, "base": u.base}
            for u in model.upsamplers
        ],
        classifier_widths=model.classifier_widths,
        graph=graph,
        image_work=ImageWork(backbone, 0.0, None) if parts else work.split(),
        mlps=parts,
        bundle=bundle,
    )


def _parameters(graph: onnx.ModelProto) -> int:
    """Counts the weights of a graph, channels that were padded included."""
    weights = Layers(graph).weights.values()
    return sum(array.size for array in weights if array.dtype.kind == "f" and array.ndim > 0)
