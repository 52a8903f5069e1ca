"""The bundle: a directory of ONNX graphs and a manifest, the contract of export and runtime.

`docs/bundle.md` describes the format for hosts in other languages.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
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
    parse_manifest,
)
from pcsr.vectors import Vector, read_vectors

MANIFEST = "manifest.json"


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
        """Reads the ONNX file of one role and checks it against the manifest.

        Raises:
            BundleError: there is none of this role or precision, its file is missing, lies outside
                the bundle, or differs from what was exported.
        """
        graphs = self.graphs(precision)
        if role not in graphs:
            raise BundleError(f"{self.path} has no {role} graph (it has: {', '.join(graphs)})")
        return self._checked(graphs[role])

    def mlp_bytes(self) -> bytes:
        """Reads the weights of the classifier and the upsamplers (npz) and checks them likewise.

        Raises:
            BundleError: a plain network has none; else as `graph_bytes`.
        """
        if self.manifest.mlps is None:
            raise BundleError(f"{self.path} is a plain network without upsamplers")
        return self._checked(self.manifest.mlps)

    def vectors(self) -> list[Vector]:
        """Reads images with what the float32 PyTorch network makes of them, to check a host with.

        Raises:
            BundleError: the bundle holds none; else as `graph_bytes`.
        """
        if self.manifest.vectors is None:
            raise BundleError(f"{self.path} has no verification vectors; export the bundle again")
        data = self._checked(self.manifest.vectors)
        try:
            return read_vectors(data, self.upsamplers)
        except ValueError as error:
            raise BundleError(f"{self.path}: {error}; export the bundle again") from error

    def calibration(self, name: str) -> dict[str, Any] | None:
        """Reads what pcsr-calibrate found (`operating_point`, `int8`, `fp8`); None without such.

        Raises:
            BundleError: as `graph_bytes`.
        """
        entry = self.manifest.calibrations.get(name)
        if entry is None:
            return None
        try:
            found: dict[str, Any] = json.loads(self._checked(entry))
            return found
        except ValueError as error:
            raise BundleError(
                f"{self.path / entry.file} is not JSON ({error}); run pcsr-calibrate again"
            ) from error

    def _checked(self, entry: File) -> bytes:
        data = _read_inside(self.path, entry.file)
        found = hashlib.sha256(data).hexdigest()
        if found != entry.sha256:
            raise BundleError(
                f"{self.path / entry.file} is damaged: sha256 {found[:12]}… instead of "
                f"{entry.sha256[:12]}…; export the bundle again"
            )
        return data


def is_bundle(path: Path) -> bool:
    """Tests whether a directory holds a bundle of ours, of whatever version."""
    try:
        return bool(_read_manifest(path))
    except BundleError:
        return False


def _read_manifest(path: Path) -> dict[str, Any]:
    file = path / MANIFEST
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        if path.name == MANIFEST:
            raise BundleError(f"{path} is inside a bundle; pass its folder {path.parent}") from None
        raise BundleError(
            f"{path} is not a bundle (no {MANIFEST}); make one with pcsr-export --ckpt FILE -o DIR"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(f"{file} cannot be read ({error}); export the bundle again") from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise BundleError(f"{file} is not the manifest of a pcsr bundle")
    return data


def _parse(file: Path, data: dict[str, Any]) -> Manifest:
    version = data.get("format_version")
    if version != FORMAT_VERSION:
        newer = isinstance(version, int) and version > FORMAT_VERSION
        advice = "upgrade pcsr" if newer else "export the bundle again"
        raise BundleError(
            f"{file} has format version {version}, this pcsr reads {FORMAT_VERSION}; {advice}"
        )
    try:
        return parse_manifest(data)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise BundleError(f"{file} is damaged ({reason}); export the bundle again") from error


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
