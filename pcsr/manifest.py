"""manifest.json of a bundle: what it says, read strictly. `docs/bundle.md` is its description."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

FORMAT = "pcsr-bundle"
FORMAT_VERSION = 4
COST_LR_SIZE = 16
IMAGE_OUTPUTS = {"backbone": "features", "network": "upscaled"}
"""The graphs that take an image, by role, each with its output that is wanted."""
ROW_INPUTS = ("features", "index", "offset", "cell")
DTYPES = {
    "fp32": "float32",
    "fp16": "float16",
    "bf16": "bfloat16",
    "int8": "float32",  # quantised inside, float32 between the graphs
    "int8-cpu": "float32",
    "fp8": "float32",
}
CALIBRATIONS = ("operating_point", "int8", "fp8")
EXACT = {"index": "int32"} | dict.fromkeys(
    ("image", "offset", "cell", "logits", "residual", "upscaled"), "float32"
)

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
class Graph:
    """One ONNX file of a bundle. `file` is relative to the bundle's directory."""

    file: str
    sha256: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


@dataclass(frozen=True)
class Costs:
    """Work of each part, in the paper's FLOPs and in multiply-adds of the exported graphs.

    Flops of the backbone are those of a 16x16 input; all else is per pixel: backbone_macs per input
    pixel, the rest per output pixel. Upsamplers are heaviest first. A plain network counts as a
    backbone without upsamplers.
    """

    backbone_flops: int
    classifier_flops: int
    upsampler_flops: tuple[int, ...]
    backbone_macs: float
    classifier_macs: int
    upsampler_macs: tuple[int, ...]

    def cost_table(self, scale: float) -> NDArray[np.float32]:
        """Share [M] of the FLOPs of (backbone + upsampler j) at a 16x16 input, heaviest first; sums
        to 1.

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
        """FLOPs of one image in the paper's convention. Sizes are (height, width)."""
        lr_pixels, hr_pixels = lr_size[0] * lr_size[1], hr_size[0] * hr_size[1]
        pixel_work = np.dot(self.upsampler_flops, pixels_per_upsampler)
        backbone = self.backbone_flops * lr_pixels / COST_LR_SIZE**2
        return float(backbone + self.classifier_flops * hr_pixels + pixel_work)

    def macs(self, lr_size: Size, hr_size: Size, pixels_per_upsampler: Sequence[int]) -> float:
        """Multiply-adds that the exported graphs execute for one image. Sizes: (height, width)."""
        lr_pixels, hr_pixels = lr_size[0] * lr_size[1], hr_size[0] * hr_size[1]
        pixel_work = np.dot(self.upsampler_macs, pixels_per_upsampler)
        return float(self.backbone_macs * lr_pixels + self.classifier_macs * hr_pixels + pixel_work)


@dataclass(frozen=True)
class Model:
    """What was exported. Widths are the hidden widths of the MLPs, upsamplers heaviest first.

    receptive_radius_px: how far (input pixels) the backbone looks around; None where it looks
        everywhere. working_bytes_per_px: the most its tensors take at one time, per input pixel.
    """

    backbone: str
    backbone_args: Mapping[str, Any]
    feature_width: int
    upsampler_widths: tuple[tuple[int, ...], ...]
    classifier_widths: tuple[int, ...] | None
    receptive_radius_px: int | None
    working_bytes_per_px: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Manifest:
    """All that manifest.json says. `graphs` maps precision to role to graph; `mlps` holds the
    weights of the classifier and the upsamplers in float32, for kernels. None for a plain network.
    `vectors` holds images with their results; None where a bundle carries none. `calibrations` maps
    what pcsr-calibrate found (`operating_point`, `int8`, `fp8`) to its JSON.
    """

    kind: Kind
    model: Model
    trained_scale: float
    costs: Costs
    graphs: Mapping[str, Mapping[str, Graph]]
    mlps: File | None
    vectors: File | None
    opset: int
    checkpoint_sha256: str
    tools: Mapping[str, str]
    verification: Sequence[Mapping[str, Any]]
    calibrations: Mapping[str, File] = field(default_factory=dict)

    @property
    def files(self) -> set[str]:
        """All files that are named, relative to the bundle's directory."""
        entries: list[File | Graph] = [
            g for graphs in self.graphs.values() for g in graphs.values()
        ]
        entries += [entry for entry in (self.mlps, self.vectors) if entry is not None]
        return {entry.file for entry in (*entries, *self.calibrations.values())}

    def to_json(self) -> str:
        """The text of manifest.json."""
        head = {"format": FORMAT, "format_version": FORMAT_VERSION}
        return json.dumps(head | asdict(self), indent=2, allow_nan=False) + "\n"


def classifier_outputs(upsamplers: int) -> int:
    """Counts the outputs of a classifier for M upsamplers: for M = 2 the logit of heavy less that
    of light, else M logits.
    """
    return 1 if upsamplers == 2 else upsamplers


def parse_manifest(data: Mapping[str, Any]) -> Manifest:
    """The manifest from its JSON. Raises KeyError, TypeError or ValueError where it is damaged."""
    values = {entry.name: data[entry.name] for entry in fields(Manifest)}
    values["model"] = _of(Model, values["model"])
    values["costs"] = _of(Costs, values["costs"])
    values["mlps"], values["vectors"] = _file(values["mlps"]), _file(values["vectors"])
    values["graphs"] = {
        precision: {role: _graph(graph) for role, graph in graphs.items()}
        for precision, graphs in values["graphs"].items()
    }
    values["calibrations"] = {name: _named(file) for name, file in values["calibrations"].items()}
    manifest = Manifest(**values)
    unknown = [name for name in manifest.calibrations if name not in CALIBRATIONS]
    _require(not unknown, f"calibrations {unknown}")
    _check_numbers(manifest)
    _require("fp32" in manifest.graphs, f"precisions {list(manifest.graphs)}")
    for precision, graphs in manifest.graphs.items():
        _check_roles(manifest, precision, graphs)
        _check_types(precision, graphs)
    return manifest


def _graph(data: Mapping[str, Any]) -> Graph:
    values = {entry.name: data[entry.name] for entry in fields(Graph)}
    for end in ("inputs", "outputs"):
        values[end] = tuple(_of(Tensor, tensor) for tensor in values[end])
    _check_file(values)
    return Graph(**values)


def _file(data: Mapping[str, Any] | None) -> File | None:
    return None if data is None else _named(data)


def _named(data: Mapping[str, Any]) -> File:
    _check_file(data)
    return File(data["file"], data["sha256"])


def _check_file(values: Mapping[str, Any]) -> None:
    _require(isinstance(values["file"], str) and "\0" not in values["file"], "file")
    _require(isinstance(values["sha256"], str), "sha256")


def _of(kind: type[Any], data: Mapping[str, Any]) -> Any:  # noqa: ANN401
    return kind(**{entry.name: _tuples(data[entry.name]) for entry in fields(kind)})


def _tuples(value: Any) -> Any:  # noqa: ANN401
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def _check_numbers(manifest: Manifest) -> None:
    costs, scale = manifest.costs, manifest.trained_scale
    _require(manifest.kind in ("pcsr", "plain"), f"kind {manifest.kind!r}")
    _require(_is_number(scale) and 1 <= scale < math.inf, f"trained_scale {scale!r}")
    _require(_is_number(costs.backbone_flops) and costs.backbone_flops > 0, "backbone_flops")
    _require(_is_number(costs.backbone_macs), "backbone_macs")
    for work in (costs.upsampler_flops, costs.upsampler_macs):
        _require(isinstance(work, tuple) and all(map(_is_number, work)), f"costs {work!r}")
        _require(len(work) == len(manifest.model.upsampler_widths), f"{len(work)} upsampler costs")
    radius = manifest.model.receptive_radius_px
    working = manifest.model.working_bytes_per_px
    _require(isinstance(working, int) and working > 0, f"working_bytes_per_px {working!r}")
    _require(radius is None or (isinstance(radius, int) and radius >= 0), f"radius {radius!r}")


def _check_roles(manifest: Manifest, precision: str, graphs: Mapping[str, Graph]) -> None:
    """Every role is there, takes what its role takes, and fits the row map made for it."""
    _require((manifest.mlps is None) == (manifest.kind == "plain"), "mlps")
    if manifest.kind == "plain":
        _require(list(graphs) == ["network"], f"{precision} graphs {list(graphs)}")
        return
    count = len(manifest.costs.upsampler_flops)
    _require(count > 0, "a pcsr bundle without upsamplers")
    roles = [*(["classifier"] if count > 1 else []), *(f"upsampler_{j}" for j in range(count))]
    _require(sorted(graphs) == sorted(["backbone", *roles]), f"{precision} graphs {list(graphs)}")
    outputs = graphs["backbone"].outputs
    maps = {tensor.name: tensor.shape[-1] for tensor in outputs[1:]}
    expected = ["features", *(f"{role}_features" for role in roles)]
    _require([t.name for t in outputs] == expected, f"outputs {[t.name for t in outputs]}")
    for role in roles:
        inputs = graphs[role].inputs
        _require([t.name for t in inputs] == list(ROW_INPUTS), f"inputs of {role}")
        _require(inputs[0].shape[-1] == maps[f"{role}_features"], f"width of {role}")


def _check_types(precision: str, graphs: Mapping[str, Graph]) -> None:
    """Features and row maps have the type of their precision, all else one that never changes."""
    inner = DTYPES.get(precision)
    for role, graph in graphs.items():
        for tensor in (*graph.inputs, *graph.outputs):
            expected = EXACT.get(tensor.name, inner)
            _require(tensor.dtype == expected, f"{tensor.dtype} {tensor.name} of {role}")


def _is_number(value: Any) -> bool:  # noqa: ANN401
    return isinstance(value, int | float) and not isinstance(value, bool)


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise ValueError(f"unexpected {what}")
