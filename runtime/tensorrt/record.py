"""The record of a build, build.json: what engines were made from, by and for."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from pcsr.bundle import Bundle

from .build import BuildOptions
from .library import Library, title
from .profiles import ShapeProfile
from .target import LocalGpu, Target, version_numbers

FORMAT = "pcsr-engines"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Facts:
    """All that decides whether engines are valid."""

    library: str
    version: str
    target: Target
    precision: str
    profile: ShapeProfile
    options: BuildOptions
    graphs: Mapping[str, str]
    """The sha256 of the ONNX file by role."""

    @property
    def key(self) -> str:
        """The name of the folder: readable words, and a hash of every fact."""
        text = json.dumps(asdict(self), sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        limits = "-".join(f"sm{capability}" for capability in self.target.capabilities)
        library = f"{self.library}-{self.version}"
        words = [self.target.gpu, limits, library, self.precision, self.profile.folder_part]
        slugs = [re.sub(r"[^a-z0-9.]+", "-", word.lower()).strip("-") for word in words if word]
        return "_".join([*slugs, digest])

    def mismatch(self, bundle: Bundle) -> str | None:
        """Says how the graphs differ from the bundle's; None where they do not."""
        graphs = bundle.manifest.graphs.get(self.precision)
        if graphs is None:
            return f"was built from {self.precision} graphs, which the bundle no longer has"
        if self.graphs != graph_hashes(bundle, self.precision):
            return "was built from other graphs than the bundle's"
        return None

    def misfit(self, library: Library, gpu: LocalGpu, precision: str) -> str | None:
        """Says why this machine cannot run them at this precision; None where it can."""
        if self.precision != precision:
            return f"is {self.precision}, not {precision}"
        if not self._runs_in(library):
            return f"is for {title(self.library, self.version)}, not {library.title}"
        if not self.target.serves(gpu, self.options.hardware_compatible):
            return f"is for {self.target}, not {gpu}"
        return None

    def _runs_in(self, library: Library) -> bool:
        if self.library != library.name:
            return False
        if not self.options.version_compatible:
            return self.version == library.version
        built, here = version_numbers(self.version), version_numbers(library.version)
        return built[0] == here[0] and built <= here


@dataclass(frozen=True)
class PlanFile:
    """The file that holds one plan, beside build.json."""

    file: str
    sha256: str
    build_s: float
    size_bytes: int | None = None
    device_memory_bytes: int | None = None
    """The scratch memory of the largest shapes; None where no GPU could tell."""
    layer_precisions: Mapping[str, int] | None = None
    """How many layers with products compute in which precision; None where no GPU could tell."""


def format_plan(plan: PlanFile) -> str:
    """Writes what is known of a plan, as `3.1 s, 2.0 MiB, 12.0 MiB on the GPU, 14 layers fp16`."""
    parts = [f"{plan.build_s:.1f} s"]
    if plan.size_bytes is not None:
        parts.append(f"{plan.size_bytes / 2**20:.1f} MiB")
    if plan.device_memory_bytes is not None:
        parts.append(f"{plan.device_memory_bytes / 2**20:.1f} MiB on the GPU")
    counts = plan.layer_precisions or {}
    parts += [f"{count} layers {name}" for name, count in counts.items()]
    return ", ".join(parts)


@dataclass(frozen=True)
class BuildRecord:
    """All that build.json says."""

    facts: Facts
    plans: Mapping[str, PlanFile]
    built: str
    """When the engines were built: UTC, ISO 8601."""
    pcsr: str
    """The version of pcsr that built them."""

    def to_json(self) -> str:
        """Writes the text of build.json."""
        head = {"format": FORMAT, "format_version": FORMAT_VERSION}
        return json.dumps(head | asdict(self), indent=2, allow_nan=False) + "\n"


def graph_hashes(bundle: Bundle, precision: str) -> dict[str, str]:
    """Gives the sha256 of each graph by role, as the manifest states them."""
    return {role: graph.sha256 for role, graph in bundle.graphs(precision).items()}


def parse_record(text: str) -> BuildRecord:
    """Reads build.json. Raises KeyError, TypeError or ValueError where the text is damaged."""
    data = json.loads(text)
    if data["format"] != FORMAT or data["format_version"] != FORMAT_VERSION:
        raise ValueError(f"it is {data['format']} {data['format_version']}")
    facts = data["facts"]
    target = Target(facts["target"]["gpu"], tuple(facts["target"]["capabilities"]))
    profile = dict(facts["profile"])
    for name in ("min", "opt", "max"):
        height, width = profile[name]
        profile[name] = int(height), int(width)
    values = facts | {
        "target": target,
        "profile": ShapeProfile(**profile),
        "options": BuildOptions(**facts["options"]),
    }
    plans = {role: PlanFile(**plan) for role, plan in data["plans"].items()}
    if any(not re.fullmatch(r"\w+\.engine", plan.file) for plan in plans.values()):
        raise ValueError("it names a file that is no engine")
    return BuildRecord(Facts(**values), plans, data["built"], data["pcsr"])
