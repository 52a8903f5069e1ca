"""Exports one PyTorch module to one checked, named, self-describing ONNX graph."""

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from io import StringIO
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from pcsr.errors import VerificationError
from pcsr.manifest import IMAGE_OUTPUTS, File, Graph
from pcsr.manifest import Tensor as TensorInfo
from pcsr.models import PCSR, PlainNetwork
from pcsr.models.padded import PaddedNetwork
from pcsr.reading.graph import read_graph_shapes
from pcsr.text import shortened

from .folding import FoldedBackbone, FoldedMlp, deployable, fold_classifier, fold_upsamplers
from .size_multiples import pad_image
from .tracing import traceable

FORBIDDEN = frozenset({"GridSample", "NonZero"})
EXAMPLE_SIZE = (24, 32)
EXAMPLE_ROWS = 96


@dataclass(frozen=True)
class GraphSource:
    """Says what one graph is exported from."""

    role: str
    module: nn.Module
    example: Mapping[str, Tensor]
    """The inputs of the module, in order, by name."""
    dynamic: Mapping[str, Mapping[int, Any]]
    """The symbolic dimensions of the inputs, by name and axis."""
    outputs: tuple[str, ...]


def graph_sources(network: PCSR | PlainNetwork) -> list[GraphSource]:
    """Lists a bundle's graphs: a plain network, or backbone, classifier (M > 1) and upsamplers."""
    if isinstance(network, PlainNetwork):
        return [_image_source("network", traceable(deployable(network)), [])]
    mlps = {f"upsampler_{j}": mlp for j, mlp in enumerate(fold_upsamplers(network))}
    if len(mlps) > 1:
        mlps = {"classifier": fold_classifier(network), **mlps}
    backbone = FoldedBackbone(network, list(mlps.values()))
    sources = [_image_source("backbone", backbone, [f"{role}_features" for role in mlps])]
    return sources + [_mlp_source(role, mlp) for role, mlp in mlps.items()]


def _image_source(role: str, module: nn.Module, row_maps: Sequence[str]) -> GraphSource:
    outputs = (IMAGE_OUTPUTS[role], *row_maps)
    example = {"image": torch.rand(1, 3, *EXAMPLE_SIZE, generator=_generator())}
    return GraphSource(role, module, example, {"image": {2: "h", 3: "w"}}, outputs)


def _mlp_source(role: str, mlp: FoldedMlp) -> GraphSource:
    pixels, width = EXAMPLE_SIZE[0] * EXAMPLE_SIZE[1], mlp.feature_weight.shape[1]
    rows = (EXAMPLE_ROWS,) if mlp.neighbours == 1 else (EXAMPLE_ROWS, mlp.neighbours)
    example = {
        "features": torch.zeros(pixels, width),
        "index": torch.zeros(rows, dtype=torch.int32),
        "offset": torch.zeros(*rows, 2),
        "cell": torch.zeros(2),
    }
    dynamic = {"features": {0: "pixels"}, "index": {0: "rows"}, "offset": {0: "rows"}, "cell": {}}
    return GraphSource(
        role, mlp, example, dynamic, ("logits" if role == "classifier" else "residual",)
    )


def export_graph(source: GraphSource, opset: int) -> onnx.ModelProto:
    """Exports the graph of one module in float32.

    Networks that take multiples alone are traced at these, and their graph pads and cuts.

    Raises:
        VerificationError: PyTorch cannot export it, or exports nothing.
    """
    padded = getattr(source.module, "network", None)
    if isinstance(padded, PaddedNetwork):
        return pad_image(export_graph(_at_multiples(source, padded), opset), padded)
    try:
        with _quiet():
            program = torch.onnx.export(
                source.module.eval(),
                tuple(source.example.values()),
                input_names=list(source.example),
                output_names=list(source.outputs),
                dynamic_shapes=tuple(dict(source.dynamic[name]) for name in source.example),
                opset_version=opset,
                dynamo=True,
                verbose=False,
            )
    except Exception as error:  # of anyone's network, anywhere in PyTorch
        first, *_ = [*str(error.__cause__ or error).strip().splitlines(), "no reason given"]
        raise VerificationError(
            f"PyTorch cannot export the {source.role} graph for images of any size: "
            f"{shortened(first)}"
        ) from error
    if program is None:
        raise VerificationError(f"torch.onnx.export returned nothing for the {source.role} graph")
    model = program.model_proto
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in model.graph.value_info:
        del value.metadata_props[:]
    return model


def _at_multiples(source: GraphSource, padded: PaddedNetwork) -> GraphSource:
    """Gives the network without its padding, for images whose sides are what it takes."""
    outer, step = source.module, padded.multiple
    assert isinstance(outer, PlainNetwork)
    mean, std = outer.mean.flatten().tolist(), outer.std.flatten().tolist()
    least = max(padded.least // step, 2)
    first = max(least, -(-EXAMPLE_SIZE[0] // step)) + 1
    example = torch.rand(1, 3, first * step, (first + 1) * step, generator=_generator())
    sides = (torch.export.Dim(name, min=least) for name in ("h", "w"))
    height, width = (step * side if step > 1 else side for side in sides)
    return replace(
        source,
        module=PlainNetwork(padded.network, outer.scale, mean, std),
        example={"image": example},
        dynamic={"image": {2: height, 3: width}},
    )


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def label_graph(model: onnx.ModelProto, name: str, metadata: Mapping[str, str]) -> None:
    """Sets the graph's ONNX name and the model's metadata_props, and checks it.

    Raises:
        VerificationError: the checker or the deployment rules refuse the graph.
    """
    model.graph.name = name
    onnx.helper.set_model_props(model, dict(metadata))
    role = metadata["pcsr.role"]
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise VerificationError(f"the {role} graph is not valid ONNX: {error}") from error
    found = FORBIDDEN & {node.op_type for node in model.graph.node}
    if found:
        raise VerificationError(
            f"the {role} graph contains {', '.join(sorted(found))}, which cannot be deployed; "
            "change the backbone so that it needs none of these"
        )


def check_deployable(data: bytes, role: str) -> None:
    """Raises VerificationError where bundles do not hold such a graph: they have few operators."""
    try:
        read_graph_shapes(data)
    except ValueError as error:
        raise VerificationError(
            f"the {role} graph is none that bundles hold: {error}; the network cannot be exported"
        ) from error


def describe_graph(model: onnx.ModelProto, file: File) -> Graph:
    """Returns the manifest's entry of a graph."""
    ends = (model.graph.input, model.graph.output)
    inputs, outputs = (tuple(map(_tensor, values)) for values in ends)
    return Graph(file.file, file.sha256, inputs, outputs)


def _tensor(value: onnx.ValueInfoProto) -> TensorInfo:
    kind = value.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name
    return TensorInfo(value.name, dtype, tuple(d.dim_param or d.dim_value for d in kind.shape.dim))


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences torch.onnx: it warns about its internals and about packages that nobody needs, and
    prints whole programs where it fails.
    """
    logs = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript")]
    levels = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"), redirect_stdout(StringIO()):
            yield
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.setLevel(level)
