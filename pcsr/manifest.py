"""Reads manifest.json by `manifest.schema.json`; `docs/bundle.md` describes it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pcsr.schema import check

FORMAT = "pcsr-bundle"
FORMAT_VERSION = 5
COST_LR_SIZE = 16
IMAGE_OUTPUTS = {"backbone": "features", "network": "upscaled"}
"""The graphs that take an image, by role, each with its output that is wanted."""
ROW_INPUTS = ("features", "index", "offset", "cell")
SCHEMA = Path(__file__).with_name("manifest.schema.json")

Kind = Literal["pcsr", "plain"]
Size = tuple[int, int]


@dataclass(frozen=True)
class Tensor:
    """An input or output of a graph: ONNX element type and shape with symbolic names."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class File:
    """A file of a bundle. `file` is relative to the bundle's directory."""

    file: str
    sha256: str


@dataclass(frozen=True)
class Graph(File):
    """One ONNX file of a bundle."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


@dataclass(frozen=True)
class Costs:
    """Work of each part, in the paper's FLOPs and in multiply-adds of the exported graphs, per
    output pixel where nothing else is said; upsamplers heaviest first. A plain network counts as a
    backbone without upsamplers.
    """

    backbone_flops: int
    """Those of a 16x16 input."""
    classifier_flops: int
    upsampler_flops: tuple[int, ...]
    backbone_macs: float
    """Per input pixel."""
    classifier_macs: int
    upsampler_macs: tuple[int, ...]

    def cost_table(self, scale: float) -> NDArray[np.float32]:
        """Computes the shares [M] of the FLOPs of (backbone + upsampler j) at a 16x16 input,
        heaviest first; they sum to 1.

        Same rule and float32 arithmetic as the published code (`models/pcsr.py`).
        """
        pixels = round(COST_LR_SIZE * scale) ** 2
        work = np.array(self.upsampler_flops, dtype=np.float32) * np.float32(pixels)
        work += np.float32(self.backbone_flops)
        cost: NDArray[np.float32] = work / work.sum()
        return cost

    def paper_flops(
        self, lr_size: Size, hr_size: Size, pixels_per_upsampler: Sequence[int]
    ) -> float:
        """Counts the FLOPs of one image in the paper's convention. Sizes are (height, width)."""
        lr_pixels, hr_pixels = lr_size[0] * lr_size[1], hr_size[0] * hr_size[1]
        pixel_work = np.dot(self.upsampler_flops, pixels_per_upsampler)
        backbone = self.backbone_flops * lr_pixels / COST_LR_SIZE**2
        return float(backbone + self.classifier_flops * hr_pixels + pixel_work)

    def macs(self, lr_size: Size, hr_size: Size, pixels_per_upsampler: Sequence[int]) -> float:
        """Counts the multiply-adds of the exported graphs likewise."""
        lr_pixels, hr_pixels = lr_size[0] * lr_size[1], hr_size[0] * hr_size[1]
        pixel_work = np.dot(self.upsampler_macs, pixels_per_upsampler)
        return float(self.backbone_macs * lr_pixels + self.classifier_macs * hr_pixels + pixel_work)


@dataclass(frozen=True)
class Upsampler:
    """How an upsampler is evaluated."""

    widths: tuple[int, ...]
    """Hidden widths of its MLP."""
    neighbours: Literal[1, 4]
    """How many of the nearest input pixels it is evaluated at."""
    base: Literal["bilinear", "none"]
    """What its result is added to."""


@dataclass(frozen=True)
class Model:
    """The network that was exported."""

    backbone: str
    backbone_args: Mapping[str, Any]
    feature_width: int
    """D, the channels of the features, padding included."""
    upsamplers: tuple[Upsampler, ...]
    """Heaviest first."""
    classifier_widths: tuple[int, ...] | None
    """Hidden widths of the classifier; None where there is none."""
    receptive_radius_px: int | None
    """How far (input pixels) the backbone looks around; None where it looks everywhere."""
    working_bytes_per_px: int
    """The most that the backbone's tensors take at one time, per input pixel."""
    mean: tuple[float, ...]
    """Normalisation, R G B; it is part of the graphs."""
    std: tuple[float, ...]
    size_multiple: int = 1
    """What the sides of images are padded to multiples of, within the graph; tiles begin at
    multiples of it."""
    parameters: int | None = None
    """How many weights its training learns, collapsible convolutions counted in the form that they
    are exported in; None where the bundle does not say."""

    def neighbours(self, role: str) -> int:
        """Tells how many neighbours of a pixel the graph of a role takes: 1 or 4."""
        number = role.removeprefix("upsampler_")
        return self.upsamplers[int(number)].neighbours if number != role else 1


@dataclass(frozen=True)
class Manifest:
    """All that manifest.json says."""

    kind: Kind
    model: Model
    trained_scale: float
    refine: bool
    """Whether images are refined where a caller does not say."""
    costs: Costs
    graphs: Mapping[str, Mapping[str, Graph]]
    """The graphs by precision, then by role."""
    mlps: File | None
    """The float32 weights of the classifier and the upsamplers; None for a plain network."""
    vectors: File | None
    """Images with their results; None where a bundle carries none."""
    opset: int
    checkpoint_sha256: str
    tools: Mapping[str, str]
    """Versions of the packages that exported it."""
    verification: Sequence[Mapping[str, Any]]
    """The export's comparisons with PyTorch."""
    calibrations: Mapping[str, File] = field(default_factory=dict)
    """What pcsr-calibrate found (`operating_point`, `int8`, `fp8`), by name."""

    @property
    def files(self) -> set[str]:
        """All files that are named, relative to the bundle's directory."""
        graphs = [graph for graphs in self.graphs.values() for graph in graphs.values()]
        entries = (*graphs, self.mlps, self.vectors, *self.calibrations.values())
        return {entry.file for entry in entries if entry is not None}

    def to_json(self) -> str:
        """Returns the text of manifest.json."""
        data = asdict(self)
        if self.model.size_multiple == 1:
            del data["model"]["size_multiple"]
        if self.model.parameters is None:
            del data["model"]["parameters"]
        head = {"format": FORMAT, "format_version": FORMAT_VERSION}
        return json.dumps(head | data, indent=2, allow_nan=False) + "\n"


def classifier_outputs(upsamplers: int) -> int:
    """Counts a classifier's outputs for M upsamplers: M = 2 has one, heavy's logit less light's."""
    return 1 if upsamplers == 2 else upsamplers


def parse_manifest(data: Mapping[str, Any]) -> Manifest:
    """Reads a manifest from its JSON. Raises ValueError where it is damaged."""
    check(data, _schema(), _schema())
    values = {entry.name: data[entry.name] for entry in fields(Manifest)}
    upsamplers = tuple(_of(Upsampler, each) for each in values["model"]["upsamplers"])
    values["model"] = replace(_of(Model, values["model"]), upsamplers=upsamplers)
    values["costs"] = _of(Costs, values["costs"])
    for name in ("mlps", "vectors"):
        values[name] = values[name] and _of(File, values[name])
    values["graphs"] = {
        precision: {role: _graph(graph) for role, graph in graphs.items()}
        for precision, graphs in values["graphs"].items()
    }
    values["calibrations"] = {
        name: _of(File, entry) for name, entry in values["calibrations"].items()
    }
    manifest = Manifest(**values)
    for work in (manifest.costs.upsampler_flops, manifest.costs.upsampler_macs):
        count = len(manifest.model.upsamplers)
        require(len(work) == count, f"costs of {len(work)} upsamplers instead of {count}")
    for precision, graphs in manifest.graphs.items():
        _check_roles(manifest, precision, graphs)
    return manifest


@cache
def _schema() -> Any:  # noqa: ANN401
    return json.loads(SCHEMA.read_text(encoding="utf-8"))


def _graph(data: Mapping[str, Any]) -> Graph:
    ends = {end: tuple(_of(Tensor, each) for each in data[end]) for end in ("inputs", "outputs")}
    return Graph(data["file"], data["sha256"], **ends)


def _of(kind: type[Any], data: Mapping[str, Any]) -> Any:  # noqa: ANN401
    names = [entry.name for entry in fields(kind) if entry.name in data]  # the schema requires most
    return kind(**{name: _tuples(data[name]) for name in names})


def _tuples(value: Any) -> Any:  # noqa: ANN401
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def _check_roles(manifest: Manifest, precision: str, graphs: Mapping[str, Graph]) -> None:
    """Checks that every upsampler is there, takes what its role takes, and fits its row map."""
    if manifest.kind == "plain":
        tensors = graphs["network"].outputs
        require([t.name for t in tensors] == ["upscaled"], "outputs of network")
        require(len(tensors[0].shape) == 4 and tensors[0].shape[1] == 3, "shape of upscaled")
        return
    count = len(manifest.costs.upsampler_flops)
    roles = [*(["classifier"] if count > 1 else []), *(f"upsampler_{j}" for j in range(count))]
    require((manifest.model.classifier_widths is not None) == (count > 1), "classifier_widths")
    require(sorted(graphs) == sorted(["backbone", *roles]), f"{precision} graphs {list(graphs)}")
    outputs = graphs["backbone"].outputs
    require(len(outputs) > 0 and len(outputs[0].shape) == 4, "outputs of backbone")
    require(outputs[0].shape[1] == manifest.model.feature_width > 0, "width of features")
    maps = {tensor.name: tensor.shape[-1] for tensor in outputs[1:]}
    expected = ["features", *(f"{role}_features" for role in roles)]
    require([t.name for t in outputs] == expected, f"outputs {[t.name for t in outputs]}")
    for role in roles:
        inputs = graphs[role].inputs
        require([t.name for t in inputs] == list(ROW_INPUTS), f"inputs of {role}")
        _check_rows(manifest, role, inputs)
        width = maps[f"{role}_features"]
        require(isinstance(width, int) and inputs[0].shape[-1] == width, f"width of {role}")
        name, values = "residual", 3
        if role == "classifier":
            name, values = "logits", classifier_outputs(count)
        found = [(t.name, *t.shape[1:]) for t in graphs[role].outputs]
        require(found == [(name, values)], f"outputs of {role}")


def _check_rows(manifest: Manifest, role: str, inputs: Sequence[Tensor]) -> None:
    """Checks that a graph takes as many neighbours of a pixel as its upsampler says."""
    neighbours = manifest.model.neighbours(role)
    found = [tensor.shape[1:] for tensor in inputs if tensor.name in ("index", "offset")]
    expected: list[tuple[int, ...]] = [(), (2,)] if neighbours == 1 else [(4,), (4, 2)]
    require(found == expected, f"shapes of index and offset of {role}")


def require(condition: bool, what: str) -> None:
    """Raises ValueError where a condition does not hold."""
    if not condition:
        raise ValueError(f"unexpected {what}")
