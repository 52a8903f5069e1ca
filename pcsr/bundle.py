"""The bundle: a directory of ONNX graphs and a manifest, the contract of export and runtime.

`docs/bundle.md` describes the format for hosts in other languages.
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pcsr.errors import BundleError
from pcsr.manifest import (
    FORMAT,
    FORMAT_VERSION,
    IMAGE_OUTPUTS,
    File,
    Graph,
    Kind,
    Manifest,
    Size,
    parse_manifest,
)
from pcsr.reading.files import inside, read_file
from pcsr.reading.graph import read_graph_shapes
from pcsr.reading.graph_shapes import GraphShapes
from pcsr.reading.json import parse_json
from pcsr.reading.npz import Arrays, Headers, read_npz
from pcsr.reading.quantised import check_quantised
from pcsr.reading.roles import check_image, check_rows
from pcsr.reading.shapes import Shape
from pcsr.text import shortened
from pcsr.vectors import Vector, read_vectors

MANIFEST = "manifest.json"
MOST_MANIFEST_BYTES = 4 * 2**20
MOST_CALIBRATION_BYTES = 16 * 2**20
MOST_ARRAY_BYTES = 256 * 2**20  # of an .npz file, and of what it holds
MOST_GRAPH_BYTES = 256 * 2**20
PROBE_SIZE = (64, 48)  # not square: a turned result would fit
BYTES_PER_VALUE = 4
MOST_OVER_MANIFEST = 2  # channels that are padded, and casts, come on top of working_bytes_per_px


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk. Graphs are read, and their hashes checked, by `graph_bytes`.

    Examples:
        >>> from pcsr import Bundle
        >>> bundle = Bundle.load("carn-pcsr/")
        >>> bundle.kind, bundle.upsamplers, list(bundle.graphs("fp32"))
        ('pcsr', 2, ['backbone', 'classifier', 'upsampler_0', 'upsampler_1'])
        >>> onnx_file = bundle.graph_bytes("backbone")  # its SHA-256 was compared
    """

    path: Path
    manifest: Manifest
    _shapes: dict[tuple[str, str, str], GraphShapes] = field(
        default_factory=dict, compare=False, repr=False
    )
    """The checked graphs by precision, role, and the SHA-256 of their files."""

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
    def image_role(self) -> str:
        """The role of the graph that takes the image: `backbone`, or `network` of a plain one."""
        return "network" if self.kind == "plain" else "backbone"

    @property
    def image_output(self) -> str:
        """The output of that graph that is wanted: `features`, or `upscaled` of a plain network."""
        return IMAGE_OUTPUTS[self.image_role]

    @property
    def upsamplers(self) -> int:
        """M, the number of upsamplers; 0 for a plain network."""
        return len(self.manifest.costs.upsampler_flops)

    def graphs(self, precision: str) -> Mapping[str, Graph]:
        """Returns the graphs by role: `backbone`, `classifier` (M > 1), `upsampler_0`, …; or
        `network`.

        Raises:
            BundleError: the bundle has none of this precision.
        """
        sets = self.manifest.graphs
        if precision not in sets:
            raise BundleError(
                f"{self.path} has no {precision} graphs (it has: {', '.join(sets)}); "
                "pcsr-export --precision adds fp16 and bf16, pcsr-calibrate precision int8 and fp8"
            )
        return sets[precision]

    def graph_bytes(self, role: str, precision: str = "fp32") -> bytes:
        """Reads the ONNX file of one role and checks it: its hash, and that it holds known
        operators and nothing else, with the inputs and outputs of its role.

        Raises:
            BundleError: there is none of this role or precision, its file is missing, lies outside
                the bundle, differs from what was exported, or is not a graph of a bundle.
            BackendError: the onnx package, which reads it, is not installed.
        """
        graphs = self.graphs(precision)
        if role not in graphs:
            raise BundleError(f"{self.path} has no {role} graph (it has: {', '.join(graphs)})")
        graph = graphs[role]
        data = self._checked(graph, MOST_GRAPH_BYTES)
        key = (precision, role, graph.sha256)
        if key not in self._shapes:
            with self._refusing(graph.file, f" is no {role} graph of a bundle"):
                shapes = read_graph_shapes(data)
                self._check_graph(role, precision, shapes)
                check_quantised(data, shapes.nodes)
                self._shapes[key] = shapes
        return data

    def image_outputs(self, precision: str, size: Size) -> Mapping[str, Shape]:
        """Gives the shapes of all outputs of the graph that takes the image, for an image of
        (height, width). Nothing is computed.

        Raises:
            BundleError: the graph does not take such an image, or needs more memory for it than
                the manifest says; else as `graph_bytes`.
        """
        graph = self.graphs(precision)[self.image_role]
        key = (precision, self.image_role, graph.sha256)
        if key not in self._shapes:
            self.graph_bytes(self.image_role, precision)
        with self._refusing(graph.file, " cannot run"):
            return self._outputs(self._shapes[key], precision, size)

    def mlp_bytes(self) -> bytes:
        """Reads the weights of the classifier and the upsamplers (npz) and checks their hash.

        Raises:
            BundleError: a plain network has none; the file is missing, lies outside the bundle, or
                differs from what was exported.
        """
        if self.manifest.mlps is None:
            raise BundleError(f"{self.path} is a plain network without upsamplers")
        return self._checked(self.manifest.mlps, MOST_ARRAY_BYTES)

    def mlp_arrays(self, check: Callable[[Headers], None]) -> Arrays:
        """Unpacks these weights.

        Args:
            check: takes dtype and shape by name, and raises ValueError where they do not fit,
                before anything is unpacked.

        Raises:
            BundleError: as `mlp_bytes`; or they are damaged, or do not fit.
        """
        data = self.mlp_bytes()
        file = "" if self.manifest.mlps is None else self.manifest.mlps.file
        with self._refusing(file, ": the weights of the upsamplers cannot be read"):
            return read_npz(data, MOST_ARRAY_BYTES, check)

    def vectors(self) -> list[Vector]:
        """Reads images with what the float32 PyTorch network makes of them, to check a host with.

        Raises:
            BundleError: the bundle holds none; else as `graph_bytes`.
        """
        if self.manifest.vectors is None:
            raise BundleError(f"{self.path} has no verification vectors; export the bundle again")
        data = self._checked(self.manifest.vectors, MOST_ARRAY_BYTES)
        with self._refusing(
            self.manifest.vectors.file, ": the verification vectors cannot be read"
        ):
            return read_vectors(read_npz(data, MOST_ARRAY_BYTES), self.upsamplers)

    def calibration(self, name: str) -> dict[str, Any] | None:
        """Reads what pcsr-calibrate found (`operating_point`, `int8`, `fp8`); None without such.

        Raises:
            BundleError: as `graph_bytes`.
        """
        entry = self.manifest.calibrations.get(name)
        if entry is None:
            return None
        data = self._checked(entry, MOST_CALIBRATION_BYTES)
        with self._refusing(entry.file, " cannot be read", "run pcsr-calibrate again"):
            found: dict[str, Any] = parse_json(data)
            if not isinstance(found, dict):
                raise ValueError("it is not a JSON object")
            return found

    def _check_graph(self, role: str, precision: str, shapes: GraphShapes) -> None:
        """Raises ValueError where a graph is not what the manifest says of it."""
        graph = self.graphs(precision)[role]
        if role != self.image_role:
            output = graph.outputs[0]
            width, values = int(graph.inputs[0].shape[-1]), int(output.shape[-1])
            check_rows(shapes, width, output.name, values, self.manifest.model.neighbours(role))
            return
        self._outputs(shapes, precision, PROBE_SIZE)

    def _outputs(self, shapes: GraphShapes, precision: str, size: Size) -> Mapping[str, Shape]:
        """Gives the shapes of the outputs for an image of this size; raises ValueError where they
        are not as they have to be.
        """
        outputs = self.graphs(precision)[self.image_role].outputs
        if self.kind == "plain":
            scale = self.manifest.trained_scale
            sides = round(size[0] * scale), round(size[1] * scale)
            expected: dict[str, Shape] = {"upscaled": (1, 3, *sides)}
        else:
            expected = {"features": (1, self.manifest.model.feature_width, *size)}
            expected |= {each.name: (math.prod(size), int(each.shape[-1])) for each in outputs[1:]}
        stated = MOST_OVER_MANIFEST * self.manifest.model.working_bytes_per_px // BYTES_PER_VALUE
        check_image(shapes, size, expected, stated, self.manifest.model.size_multiple)
        return expected

    def _checked(self, entry: File, most_bytes: int) -> bytes:
        with self._refusing(entry.file, " cannot be read"):
            data = read_file(inside(self.path, entry.file), most_bytes)
        found = hashlib.sha256(data).hexdigest()
        if found != entry.sha256:
            raise BundleError(
                f"{self.path / entry.file} is damaged: sha256 {found[:12]}… instead of "
                f"{entry.sha256[:12]}…; export the bundle again"
            )
        return data

    @contextmanager
    def _refusing(
        self, file: str, what: str, advice: str = "export the bundle again"
    ) -> Iterator[None]:
        """Turns what is wrong with a file into BundleError."""
        try:
            yield
        except TimeoutError:  # a caller's, by a signal: nothing is read here
            raise
        except (OSError, ValueError) as error:
            raise BundleError(f"{self.path / file}{what} ({_reason(error)}); {advice}") from error


def is_bundle(path: Path) -> bool:
    """Tests whether a directory holds a bundle of ours, of whatever version."""
    try:
        return bool(_read_manifest(path))
    except BundleError:
        return False


def _read_manifest(path: Path) -> dict[str, Any]:
    file = path / MANIFEST
    try:
        data = parse_json(read_file(inside(path, MANIFEST), MOST_MANIFEST_BYTES))
    except (FileNotFoundError, NotADirectoryError):
        if path.name == MANIFEST:
            raise BundleError(f"{path} is inside a bundle; pass its folder {path.parent}") from None
        if path.suffix == ".onnx" and path.is_file():
            raise BundleError(
                f"{path} is one ONNX file, which runs in pcsr-upscale and pcsr-profile only; pass "
                "the folder of its bundle (pcsr-export --ckpt FILE -o DIR)"
            ) from None
        raise BundleError(
            f"{path} is not a bundle (no {MANIFEST}); make one with pcsr-export --ckpt FILE -o DIR"
        ) from None
    except (OSError, ValueError) as error:
        raise BundleError(
            f"{file} cannot be read ({_reason(error)}); export the bundle again"
        ) from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise BundleError(f"{file} is not the manifest of a pcsr bundle")
    return data


def _parse(file: Path, data: dict[str, Any]) -> Manifest:
    version = data.get("format_version")
    if version != FORMAT_VERSION:
        newer = isinstance(version, int) and version > FORMAT_VERSION
        version = shortened(str(version), 40)
        advice = "upgrade pcsr" if newer else "export the bundle again"
        raise BundleError(
            f"{file} has format version {version}, this pcsr reads {FORMAT_VERSION}; {advice}"
        )
    try:
        return parse_manifest(data)
    except ValueError as error:
        reason = shortened(str(error))
        raise BundleError(f"{file} is damaged ({reason}); export the bundle again") from error


def _reason(error: Exception) -> str:
    return (
        error.strerror if isinstance(error, OSError) and error.strerror else shortened(str(error))
    )
