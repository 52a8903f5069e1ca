"""Who is measured, and against whom."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

EngineName = Literal["pcsr", "eager", "plain-ort", "plain-eager", "bicubic"]
Options = Mapping[str, float | bool]

PLAIN = "plain-ort"  # the baseline of every contender
HEAVY_SHARE = 0.2


@dataclass(frozen=True)
class Contender:
    """One way to make the large image.

    options: of the call. rival: name of the published form in the same mode, which an image and a
    time are compared with; None where there is none.
    """

    name: str
    label: str
    engine: EngineName
    options: Options = field(default_factory=dict)
    rival: str | None = None

    @property
    def is_ours(self) -> bool:
        """Whether its failure is a fault of this project."""
        return self.engine == "pcsr"


OURS_AT_SHARE = Contender("pcsr-heavy20", "pcsr, 20 % heavy", "pcsr", {"heavy_ratio": HEAVY_SHARE})
OURS = (
    Contender("pcsr-k0", "pcsr, k = 0", "pcsr", {"k": 0.0}, "eager-k0"),
    Contender("pcsr-adm", "pcsr, ADM", "pcsr", {"adaptive": True}, "eager-adm"),
    OURS_AT_SHARE,
    Contender("pcsr-heavy", "pcsr, all heavy", "pcsr", {"heavy_ratio": 1.0}),
    Contender("pcsr-light", "pcsr, all light", "pcsr", {"heavy_ratio": 0.0}),
)
EAGER = (
    Contender("eager-k0", "published form, k = 0", "eager", {"k": 0.0}),
    Contender("eager-adm", "published form, ADM", "eager", {"adaptive": True}),
)
EAGER_HEAVY20 = Contender("eager-heavy20", "published form, 20 % heavy", "eager")
OTHERS = (
    Contender(PLAIN, "plain network, ONNX Runtime", "plain-ort"),
    Contender("plain-eager", "plain network, PyTorch", "plain-eager"),
    Contender("bicubic", "bicubic (Pillow)", "bicubic"),
)


def line_up(eager: bool, k_of_share: float | None = None) -> tuple[Contender, ...]:
    """All contenders of one model.

    eager: whether the forms in PyTorch take part. k_of_share: for random weights, where k = 0 and
    ADM mean nothing: the k at which `HEAVY_SHARE` of the pixels are heavy; the published form has
    no other way to say so.
    """
    ours: tuple[Contender, ...] = OURS
    published: tuple[Contender, ...] = EAGER
    if k_of_share is not None:
        ours = (replace(OURS_AT_SHARE, rival=EAGER_HEAVY20.name), *OURS[3:])
        published = (replace(EAGER_HEAVY20, options={"k": k_of_share}),)
    everyone = (*ours, *published, *OTHERS)
    return tuple(c for c in everyone if eager or c.engine not in ("eager", "plain-eager"))
