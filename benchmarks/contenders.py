"""Who is measured, and against whom."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from typing import Literal

SCALE = 4
HEAVY_SHARE = 0.2
AT_SHARE = "20 % heavy"
CallOptions = Mapping[str, float | bool]
MODES: Mapping[str, CallOptions] = {
    "k = 0": {"k": 0.0},
    "ADM": {"adaptive": True},
    AT_SHARE: {"heavy_ratio": HEAVY_SHARE},
}

PAPER_MODES = ("k = 0", "ADM")

Family = Literal[
    "pcsr",
    "plain",
    "backbone",
    "published",
    "plain-eager",
    "plain-compiled",
    "backbone-compiled",
    "plain-session",
    "plain-openvino",
    "span-session",
    "span-openvino",
    "single-file-k0",
    "single-file-adm",
    "bicubic",
]
SINGLE_FILE = ("single-file-k0", "single-file-adm")
SPAN_FAMILIES = ("span-session", "span-openvino")
OPENVINO = {"fp32": "f32", "bf16": "bf16"}
"""Its names of the precisions that it has."""
LABELS: Mapping[Family, str] = {
    "published": "published form, eager",
    "plain-eager": "plain, eager PyTorch",
    "plain-compiled": "plain, torch.compile",
    "backbone-compiled": "backbone, torch.compile",
}
NOT_OURS = tuple(LABELS.values())


@dataclass(frozen=True)
class Implementation:
    """Says what runs a network."""

    family: Family
    """`pcsr` and `plain` are bundles in an `Upscaler`, `backbone` is the graph of a PCSR bundle, up
    to its features; the others need nothing of this runtime.
    """
    backend: str = ""
    """As of `Upscaler`, as the next two; empty for those that are none."""
    passes: str = "auto"
    cuda_graphs: bool = False
    precision: str = ""
    """Of one that has its own; else it is that of the place."""

    @property
    def label(self) -> str:
        """Names it for people; unique."""
        if not self.backend:
            return LABELS.get(self.family, self.family)
        parts = [self.family, self.backend]
        parts += [self.passes] if self.family == "pcsr" else []
        return ", ".join([*parts, *(["graph"] if self.cuda_graphs else [])])

    @property
    def is_ours(self) -> bool:
        """Says whether its failure is a fault of this project."""
        return self.backend != ""

    @property
    def is_pcsr(self) -> bool:
        """Says whether it runs the PCSR network, and not the plain one."""
        others = ("pcsr", "published", "backbone", "backbone-compiled")
        return self.family in (*others, *SINGLE_FILE)


@dataclass(frozen=True)
class Contender:
    """A contender is an implementation in one mode of routing: one way to make the large image."""

    name: str
    implementation: Implementation
    label: str = ""
    mode: str = ""
    """One of `MODES`; empty without routing, and for modes of `make bench` alone."""
    options: CallOptions = field(default_factory=dict)
    """Of its call; of the published form at 20 % heavy only a run tells the k."""
    plain: str = ""
    """Name of the plain network whose time this one's is divided by; empty: none."""
    published: str = ""
    """Name of the published form whose time, and on the CPU whose image, is compared with it."""

    @classmethod
    def of(
        cls, implementation: Implementation, mode: str = "", plain: str = "", published: str = ""
    ) -> "Contender":
        """Makes one that is named as its implementation and its mode are."""
        name = ", ".join(part for part in (implementation.label, mode) if part)
        options = MODES.get(mode, {})
        return cls(name, implementation, name, mode, options, plain, published)


PLAIN = "plain-ort"  # the baseline of every contender on the CPU


def _on_cpu(
    name: str,
    label: str,
    family: Family,
    published: str = "",
    precision: str = "",
    **options: float | bool,
) -> Contender:
    backend = {"pcsr": "auto"}.get(family, "onnxruntime" if family in SINGLE_FILE else "")
    implementation = Implementation(family, backend, precision=precision)
    if precision:
        name, label = f"{name}-{precision}", f"{label}, {precision}"
    return Contender(name, implementation, label, "", options, PLAIN, published)


OURS_AT_SHARE = _on_cpu("pcsr-heavy20", "pcsr, 20 % heavy", "pcsr", heavy_ratio=HEAVY_SHARE)
OURS = (
    _on_cpu("pcsr-k0", "pcsr, k = 0", "pcsr", "eager-k0", k=0.0),
    _on_cpu("pcsr-adm", "pcsr, ADM", "pcsr", "eager-adm", adaptive=True),
    OURS_AT_SHARE,
    _on_cpu("pcsr-heavy", "pcsr, all heavy", "pcsr", heavy_ratio=1.0),
    _on_cpu("pcsr-light", "pcsr, all light", "pcsr", heavy_ratio=0.0),
)
IN_ONE_FILE = (
    _on_cpu("single-file-k0", "one ONNX file, k = 0", "single-file-k0", "eager-k0"),
    _on_cpu("single-file-adm", "one ONNX file, ADM", "single-file-adm", "eager-adm"),
)
PUBLISHED = (
    _on_cpu("eager-k0", "published form, k = 0", "published", k=0.0),
    _on_cpu("eager-adm", "published form, ADM", "published", adaptive=True),
)
OTHERS = (
    _on_cpu(PLAIN, "plain network, ONNX Runtime", "plain-session"),
    _on_cpu("plain-eager", "plain network, PyTorch", "plain-eager"),
    _on_cpu("bicubic", "bicubic (Pillow)", "bicubic"),
)
SPAN = _on_cpu("span-ort", "SPAN x4, ONNX Runtime", "span-session")


def reduced(precision: str) -> tuple[Contender, ...]:
    """Lists ours in an arithmetic of fewer bits than float32."""
    return (
        _on_cpu("pcsr-k0", "pcsr, k = 0", "pcsr", precision=precision, k=0.0),
        _on_cpu("pcsr-adm", "pcsr, ADM", "pcsr", precision=precision, adaptive=True),
        _on_cpu(
            "pcsr-heavy20", "pcsr, 20 % heavy", "pcsr", precision=precision, heavy_ratio=HEAVY_SHARE
        ),
        _on_cpu("pcsr-heavy", "pcsr, all heavy", "pcsr", precision=precision, heavy_ratio=1.0),
    )


def in_openvino(precision: str, span: bool) -> tuple[Contender, ...]:
    """Lists the static networks in OpenVINO, in an arithmetic that ours are measured in, too."""
    rivals = [_on_cpu("plain-openvino", "plain network, OpenVINO", "plain-openvino", "", precision)]
    if span:
        rivals += [_on_cpu("span-openvino", "SPAN x4, OpenVINO", "span-openvino", "", precision)]
    return tuple(rivals)


def cpu_line_up(
    eager: bool,
    k_of_share: float | None = None,
    precisions: Sequence[str] = ("fp32",),
    others: Sequence[str] = (),
) -> tuple[Contender, ...]:
    """Lists all contenders of one model on the CPU.

    Args:
        eager: whether the forms in PyTorch take part.
        k_of_share: for random weights, where k = 0 and ADM mean nothing: the k at which
            `HEAVY_SHARE` of the pixels are heavy; the published form has no other way to say so.
        precisions: of ours, fp32 first; OpenVINO runs its networks in those that it has, too.
        others: which of `openvino` and `span` take part.
    """
    ours: tuple[Contender, ...] = (*OURS, *IN_ONE_FILE, *PUBLISHED)
    lower = [c for p in precisions if p != "fp32" for c in reduced(p)]
    if k_of_share is not None:
        rival = _on_cpu("eager-heavy20", "published form, 20 % heavy", "published", k=k_of_share)
        ours = (replace(OURS_AT_SHARE, published=rival.name), *OURS[3:], rival)
        lower = [c for c in lower if "heavy_ratio" in c.options]
    has_span = "span" in others
    rivals = [SPAN] if has_span else []
    if "openvino" in others:
        rivals += [c for p in precisions if p in OPENVINO for c in in_openvino(p, has_span)]
    left_out = () if eager else ("published", "plain-eager")
    everyone = (*ours, *lower, *OTHERS, *rivals)
    return tuple(c for c in everyone if c.implementation.family not in left_out)


def other_libraries() -> Sequence[str]:
    """Lists what this Python has to run rivals with: `openvino`, and `span` where spandrel is."""
    found = {"openvino": "openvino", "span": "spandrel"}
    return [name for name, package in found.items() if find_spec(package)]


def installed_backends() -> Sequence[str]:
    """Lists the backends of a GPU that this Python has beside PyTorch."""
    found = []
    if find_spec("tensorrt") or find_spec("tensorrt_rtx"):
        found.append("tensorrt")
    if find_spec("onnxruntime"):
        import onnxruntime

        if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
            found.append("onnxruntime")
    return found


def pcsr_implementations(backends: Sequence[str] = ()) -> list[Implementation]:
    """Lists ways to run a PCSR bundle on a device, the fastest first. backends: beside PyTorch."""
    found = [Implementation("pcsr", "torch", "fused", cuda_graphs=True)]
    for backend in ("torch", *backends):
        is_recorded = backend == "tensorrt"
        found.append(Implementation("pcsr", backend, "fused", is_recorded))
        found.append(Implementation("pcsr", backend, "graphs"))
    return found


def plain_implementations(backends: Sequence[str] = ()) -> list[Implementation]:
    """Lists ways to run a plain bundle, each compiled as PCSR is by the same backend."""
    found = [Implementation("plain", "torch", cuda_graphs=True), Implementation("plain", "torch")]
    found += [Implementation("plain", name, cuda_graphs=name == "tensorrt") for name in backends]
    return found


def device_line_up(backends: Sequence[str] = ()) -> list[Contender]:
    """Lists those that a first look needs, of one model at one size and precision on a device: the
    fastest of ours in every mode, and once unrecorded for its stages; the plain network, compiled
    the same way and in eager PyTorch; the published form in the modes that it has by itself.
    """
    recorded, staged = pcsr_implementations()[:2]
    plain = Contender.of(plain_implementations()[0])
    published = [Contender.of(Implementation("published"), mode) for mode in PAPER_MODES]
    rivals = {rival.mode: rival.name for rival in published}
    ours = [Contender.of(recorded, mode, plain.name, rivals.get(mode, "")) for mode in MODES]
    ours.append(Contender.of(staged, "ADM"))
    for backend in backends:
        is_recorded = backend == "tensorrt"
        rival = Contender.of(Implementation("plain", backend, cuda_graphs=is_recorded))
        one = Implementation("pcsr", backend, "fused", is_recorded)
        ours += [Contender.of(one, "ADM", rival.name, rivals["ADM"]), rival]
    return [*ours, plain, Contender.of(Implementation("plain-eager")), *published]


def whole_line_up(backends: Sequence[str] = ()) -> list[Contender]:
    """Lists every way there is, in every mode."""
    plain = {one.backend: one for one in reversed(plain_implementations(backends))}
    published = [Contender.of(Implementation("published"), mode) for mode in MODES]
    everyone = [
        Contender.of(one, rival.mode, Contender.of(plain[one.backend]).name, rival.name)
        for one in pcsr_implementations(backends)
        for rival in published
    ]
    everyone += [Contender.of(one) for one in plain_implementations(backends)]
    return [*everyone, Contender.of(Implementation("plain-eager")), *published]


def compiled_line_up() -> list[Contender]:
    """Lists the fastest of ours beside the plain network by `torch.compile`, and our backbone
    beside the same one by `torch.compile`, for most of the time goes there.
    """
    compiled = Contender.of(Implementation("plain-compiled"))
    fastest = pcsr_implementations()[0]
    ours = [Contender.of(fastest, mode, compiled.name) for mode in MODES]
    backbone = Contender.of(Implementation("backbone-compiled"))
    our_backbone = Implementation("backbone", "torch", cuda_graphs=True)
    return [
        *(compiled, Contender.of(plain_implementations()[0]), *ours),
        *(Contender.of(our_backbone, plain=backbone.name), backbone),
    ]
