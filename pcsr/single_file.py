"""A bundle in one ONNX file, image in and upscaled image out: `pcsr-export --single-file`.

To a runtime it is a plain network: one graph, one scale, and no routing that can be chosen.
`docs/single_file.md` describes the file.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pcsr.bundle import MANIFEST, Bundle
from pcsr.errors import BundleError
from pcsr.manifest import Costs, Graph, Manifest, Model, Size, Tensor
from pcsr.reading.files import read_file
from pcsr.reading.graph import read_single_graph
from pcsr.reading.shapes import Shape, Value
from pcsr.text import shortened

SUFFIX = ".onnx"
NOT_OURS = "is no file of pcsr-export --single-file; pass one, or a bundle's folder"
PREFIX = "pcsr."
FORM = "form"
K = "pcsr.k"  # the weight
ROUTINGS = ("k", "adaptive", "none")
FORMS = ("sparse", "dense", "plain")
PRECISIONS = ("fp32", "fp16")
MOST_BYTES = 256 * 2**20
BYTES_PER_PX = 2**16  # of the input: about what CARN takes at x4


@dataclass(frozen=True)
class SingleFile(Bundle):
    """A file that is a whole bundle. Nothing of it can be chosen but the image.

    Examples:
        >>> from pcsr.single_file import open_bundle
        >>> bundle = open_bundle("carn-pcsr/")  # a folder; the file of one would be a SingleFile
        >>> bundle.kind
        'pcsr'
    """

    facts: Mapping[str, str] | None = None
    """What the metadata says, without the prefix."""
    data: bytes = b""
    routing: str = "none"
    """The way of routing that is baked in: `k=0.5`, `adaptive` or `none`."""

    @classmethod
    def load(cls, path: Path | str) -> "SingleFile":
        """Reads and checks the file.

        Raises:
            BundleError: it cannot be read, is no ONNX graph as pcsr writes, or not pcsr's at all.
        """
        path = Path(path)
        try:
            data = read_file(path, MOST_BYTES)
            found = read_single_graph(data)
            facts = {
                name.removeprefix(PREFIX): text
                for name, text in found.metadata.items()
                if name.startswith(PREFIX)
            }
            if FORM not in facts:
                raise BundleError(f"{path} {NOT_OURS}")
            digest = hashlib.sha256(data).hexdigest()
            manifest = _manifest(path.name, digest, facts, found.opset)
            routing = _routing(facts, found.weights)
        except OSError as error:
            raise BundleError(f"{path} cannot be read: {error.strerror or error}") from error
        except ValueError as error:
            reason = shortened(str(error))
            raise BundleError(
                f"{path} is no file of pcsr-export --single-file ({reason}); export it again"
            ) from error
        return cls(path, manifest, facts=facts, data=data, routing=routing)

    def graph_bytes(self, role: str, precision: str = "fp32") -> bytes:
        """Gives the file, which was checked when it was read.

        Raises:
            BundleError: the file is of another precision.
        """
        if role not in self.graphs(precision):
            raise BundleError(f"{self.path} is one graph, it has no {role} graph")
        return self.data

    def graphs(self, precision: str) -> Mapping[str, Graph]:
        """Returns the graph as that of the role `network`.

        Raises:
            BundleError: the file is of another precision.
        """
        there = self.manifest.graphs
        if precision not in there:
            raise BundleError(
                f"{self.path} is in {', '.join(there)}, found {precision} asked for; pass "
                f"--precision {next(iter(there))}, or export another file"
            )
        return there[precision]

    def image_outputs(self, precision: str, size: Size) -> Mapping[str, Shape]:
        """Gives the shape of the result for an image of (height, width)."""
        scale = self.manifest.trained_scale
        return {"upscaled": (1, 3, round(size[0] * scale), round(size[1] * scale))}


def open_bundle(path: Path | str) -> Bundle:
    """Opens a bundle's folder, or a file that holds all of one.

    Raises:
        BundleError: as `Bundle.load` and `SingleFile.load`.
    """
    path = Path(path)
    is_file = path.suffix == SUFFIX and path.name != MANIFEST and not path.is_dir()
    return SingleFile.load(path) if is_file else Bundle.load(path)


def k_label(k: float) -> str:
    """Names the routing by a cost weight as files hold it, in float32: `k=0.1`.

    Examples:
        >>> from pcsr.single_file import k_label
        >>> k_label(0.1), k_label(0), k_label(0.123456789)
        ('k=0.1', 'k=0', 'k=0.12345679')
    """
    with np.errstate(over="ignore"):
        return f"k={np.format_float_positional(np.float32(k), trim='-')}"


def _routing(facts: Mapping[str, str], weights: Mapping[str, Value]) -> str:
    """Names the way of routing; k is what its weight holds, which programs may change."""
    name = facts.get("routing", "none")
    if name not in ROUTINGS:
        raise ValueError(f"it states the routing '{name:.20}'")
    if name != "k":
        return name
    weight = weights[K].known if K in weights else None
    if weight is None or weight.shape != (1,) or weight.dtype != np.float32:
        raise ValueError(f"it is routed by k, and has no weight {K} [1] float32")
    return k_label(float(weight[0]))


def _manifest(name: str, sha256: str, facts: Mapping[str, str], opset: int) -> Manifest:
    """Makes the manifest of a plain network. Raises ValueError where a fact is not as it is
    written.
    """
    scale = float(facts.get("scale", "nan"))
    precision, form = facts.get("precision", ""), facts[FORM]
    if not 1 <= scale <= 1000 or precision not in PRECISIONS or form not in FORMS:
        raise ValueError(
            f"it states scale {scale:g}, precision '{precision:.20}' and form '{form:.20}'"
        )
    ends = [Tensor(end, "float32", (1, 3, "h", "w")) for end in ("image", "upscaled")]
    graph = Graph(name, sha256, (ends[0],), (ends[1],))
    return Manifest(
        kind="plain",
        model=Model(
            backbone=facts.get("backbone", ""),
            backbone_args={},
            feature_width=0,
            upsamplers=(),
            classifier_widths=None,
            receptive_radius_px=None,
            working_bytes_per_px=BYTES_PER_PX,
            mean=(0.0, 0.0, 0.0),
            std=(1.0, 1.0, 1.0),
        ),
        trained_scale=scale,
        refine=facts.get("refine") == "true",
        costs=Costs(0, 0, (), 0.0, 0, ()),
        graphs={precision: {"network": graph}},
        mlps=None,
        vectors=None,
        opset=opset,
        checkpoint_sha256=facts.get("checkpoint_sha256", ""),
        tools={},
        verification=(),
    )
