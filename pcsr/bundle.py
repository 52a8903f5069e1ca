"""The bundle: a directory of ONNX graphs and a manifest. The one contract between export and
runtime.

`docs/bundle.md` describes the format for hosts in other languages.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pcsr.errors import BundleError

FORMAT = "pcsr-bundle"
FORMAT_VERSION = 1
MANIFEST = "manifest.json"
COST_LR_SIZE = 16

Kind = Literal["pcsr", "plain"]
Size = tuple[int, int]


@dataclass(frozen=True)
class Tensor:
    """An input or output of a graph: ONNX element type and shape with symbolic names."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


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
        everywhere.
    """

    backbone: str
    backbone_args: Mapping[str, Any]
    feature_width: int
    upsampler_widths: tuple[tuple[int, ...], ...]
    classifier_widths: tuple[int, ...] | None
    receptive_radius_px: int | None
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Manifest:
    """All that manifest.json says. `graphs` maps precision to role to graph."""

    kind: Kind
    model: Model
    trained_scale: float
    costs: Costs
    graphs: Mapping[str, Mapping[str, Graph]]
    opset: int
    checkpoint_sha256: str
    tools: Mapping[str, str]
    verification: Sequence[Mapping[str, Any]]

    def to_json(self) -> str:
        """The text of manifest.json."""
        head = {"format": FORMAT, "format_version": FORMAT_VERSION}
        return json.dumps(head | asdict(self), indent=2, allow_nan=False) + "\n"


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk. Graphs are read, and their hashes checked, by `graph_bytes`."""

    path: Path
    manifest: Manifest

    @classmethod
    def load(cls, path: Path | str) -> "Bundle":
        """Reads and checks the manifest.

        Raises:
            BundleError: no bundle, of a newer format, or its manifest is damaged.
        """
        path = Path(path)
        return cls(path, _parse(path / MANIFEST, _read_manifest(path)))

    @property
    def kind(self) -> Kind:
        """`pcsr`, or `plain` for a network with its own upsampling tail."""
        return self.manifest.kind

    @property
    def upsamplers(self) -> int:
        """M, the number of upsamplers; 0 for a plain network."""
        return len(self.manifest.costs.upsampler_flops)

    def graph(self, role: str, precision: str) -> Graph:
        """The graph of one role (`backbone`, `classifier`, `upsampler_0`, …; `network` in a plain
        bundle).
        """
        sets = self.manifest.graphs
        if precision not in sets:
            raise BundleError(f"{self.path} has no {precision} graphs (it has: {', '.join(sets)})")
        if role not in sets[precision]:
            raise BundleError(
                f"{self.path}: {MANIFEST} names no {role} graph; export the bundle again"
            )
        return sets[precision][role]

    def graph_bytes(self, role: str, precision: str = "fp32") -> bytes:
        """The ONNX file of one role, checked against the manifest.

        Raises:
            BundleError: it is missing, lies outside the bundle, or differs from what was exported.
        """
        graph = self.graph(role, precision)
        data = _read_inside(self.path, graph.file)
        found = hashlib.sha256(data).hexdigest()
        if found != graph.sha256:
            raise BundleError(
                f"{self.path / graph.file} is damaged: sha256 {found[:12]}… instead of "
                f"{graph.sha256[:12]}…; export the bundle again"
            )
        return data


def is_bundle(path: Path) -> bool:
    """Whether a directory holds a bundle of ours, of whatever version."""
    try:
        return bool(_read_manifest(path))
    except BundleError:
        return False


def _read_manifest(path: Path) -> dict[str, Any]:
    file = path / MANIFEST
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise BundleError(
            f"{path} is not a bundle (no {MANIFEST}); make one with pcsr-export --ckpt FILE -o DIR"
        ) from None
    except (OSError, ValueError) as error:
        raise BundleError(f"{file} cannot be read ({error}); export the bundle again") from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise BundleError(f"{file} is not the manifest of a pcsr bundle")
    return data


def _parse(file: Path, data: dict[str, Any]) -> Manifest:
    version = data.pop("format_version", None)
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise BundleError(
            f"{file} has format version {version}, this pcsr reads up to {FORMAT_VERSION}; "
            "upgrade pcsr"
        )
    try:
        return _manifest(data)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BundleError(
            f"{file} is damaged ({type(error).__name__}: {error}); export the bundle again"
        ) from error


def _manifest(data: dict[str, Any]) -> Manifest:
    values = {field.name: data[field.name] for field in fields(Manifest)}
    if values["kind"] not in ("pcsr", "plain"):
        raise ValueError(f"kind {values['kind']!r}")
    values["model"] = _of(Model, values["model"])
    values["costs"] = _of(Costs, values["costs"])
    values["trained_scale"] = float(values["trained_scale"])
    values["graphs"] = {
        precision: {role: _graph(graph) for role, graph in graphs.items()}
        for precision, graphs in values["graphs"].items()
    }
    return Manifest(**values)


def _graph(data: dict[str, Any]) -> Graph:
    values = {field.name: data[field.name] for field in fields(Graph)}
    for end in ("inputs", "outputs"):
        values[end] = tuple(_of(Tensor, tensor) for tensor in values[end])
    return Graph(**values)


def _of(kind: type[Any], data: dict[str, Any]) -> Any:  # noqa: ANN401
    return kind(**{field.name: _tuples(data[field.name]) for field in fields(kind)})


def _tuples(value: Any) -> Any:  # noqa: ANN401
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def _read_inside(root: Path, name: str) -> bytes:
    file = (root / name).resolve()
    if not file.is_relative_to(root.resolve()):
        raise BundleError(
            f"{root}: {MANIFEST} names {name}, which lies outside the bundle; do not use it"
        )
    try:
        return file.read_bytes()
    except OSError as error:
        raise BundleError(
            f"{root / name} cannot be read ({error.strerror}); export the bundle again"
        ) from error
