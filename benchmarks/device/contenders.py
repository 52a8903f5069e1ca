"""Who is measured on the device, and whom each is compared with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Literal

Family = Literal["pcsr", "plain", "published", "plain-eager", "plain-compiled"]
Options = Mapping[str, float | bool]

HEAVY_SHARE = 0.2
MODES: Mapping[str, Options] = {
    "k = 0": {"k": 0.0},
    "ADM": {"adaptive": True},
    "20 % heavy": {"heavy_ratio": HEAVY_SHARE},
}
AT_SHARE = "20 % heavy"

LABELS: Mapping[Family, str] = {
    "published": "published form, eager",
    "plain-eager": "plain, eager PyTorch",
    "plain-compiled": "plain, torch.compile",
}
NOT_OURS = tuple(LABELS.values())


@dataclass(frozen=True)
class Engine:
    """What runs a network. backend, passes, cuda_graphs: as of `Upscaler`; of the families that are
    one (pcsr, plain).
    """

    family: Family
    backend: str = ""
    passes: str = "auto"
    cuda_graphs: bool = False

    @property
    def label(self) -> str:
        """For people, and unique."""
        if not self.backend:
            return LABELS[self.family]
        parts = [self.family, self.backend]
        parts += [self.passes] if self.family == "pcsr" else []
        return ", ".join([*parts, *(["graph"] if self.cuda_graphs else [])])

    @property
    def is_ours(self) -> bool:
        """Whether its failure is a fault of this project."""
        return self.backend != ""


@dataclass(frozen=True)
class Contender:
    """An engine in one mode of routing; mode is empty without routing.

    plain, published: names of those whose times this one's are divided by; empty: none.
    """

    engine: Engine
    mode: str = ""
    plain: str = ""
    published: str = ""

    @property
    def name(self) -> str:
        """For people, and unique."""
        return ", ".join(part for part in (self.engine.label, self.mode) if part)

    @property
    def options(self) -> Options:
        """Of its call, but for the published form's k at 20 % heavy, which only a run tells."""
        return MODES.get(self.mode, {})


@dataclass(frozen=True)
class Installed:
    """Which optional engines there are."""

    backends: Sequence[str] = field(default_factory=tuple)

    @classmethod
    def here(cls) -> "Installed":
        """In this Python."""
        found = []
        if find_spec("tensorrt") or find_spec("tensorrt_rtx"):
            found.append("tensorrt")
        if find_spec("onnxruntime"):
            import onnxruntime

            if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
                found.append("onnxruntime")
        return cls(found)


def pcsr_engines(installed: Installed) -> list[Engine]:
    """Ways to run a PCSR bundle, the fastest first."""
    engines = [
        Engine("pcsr", "torch", "fused", True),
        Engine("pcsr", "torch", "fused", False),
        Engine("pcsr", "torch", "graphs", False),
    ]
    for backend in installed.backends:
        engines += [
            Engine("pcsr", backend, "fused", backend == "tensorrt"),
            Engine("pcsr", backend, "graphs", False),
        ]
    return engines


def plain_engines(installed: Installed) -> list[Engine]:
    """Ways to run a plain bundle, each compiled as PCSR is by the same backend."""
    engines = [Engine("plain", "torch", cuda_graphs=True), Engine("plain", "torch")]
    engines += [
        Engine("plain", name, cuda_graphs=name == "tensorrt") for name in installed.backends
    ]
    return engines


def line_up(installed: Installed) -> list[Contender]:
    """All contenders of one model at one size and precision."""
    plain = {engine.backend: engine for engine in reversed(plain_engines(installed))}
    published = Engine("published")
    everyone = [
        Contender(
            engine,
            mode,
            plain=Contender(plain[engine.backend]).name,
            published=Contender(published, mode).name,
        )
        for engine in pcsr_engines(installed)
        for mode in MODES
    ]
    everyone += [Contender(engine) for engine in plain_engines(installed)]
    everyone.append(Contender(Engine("plain-eager")))
    return everyone + [Contender(published, mode) for mode in MODES]


def compiled_line_up() -> list[Contender]:
    """The fastest of ours beside the plain network by `torch.compile`."""
    plain = Contender(Engine("plain-compiled"))
    fastest = pcsr_engines(Installed())[0]
    ours = [Contender(fastest, mode, plain=plain.name) for mode in MODES]
    return [plain, Contender(plain_engines(Installed())[0]), *ours]
