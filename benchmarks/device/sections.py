"""The sections of a run, in the order of their importance, and what the budget leaves each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast, get_args

from benchmarks.image import Size
from benchmarks.records import Record
from pcsr.errors import UsageError
from pcsr.text import parse_size

Kind = Literal["ceilings", "fidelity", "time", "kernels", "compiled"]

MODELS = ("carn", "fsrcnn", "srresnet")
PRECISIONS = ("fp16", "fp32")
SIZES: tuple[Size, ...] = ((1080, 1920), (540, 960), (276, 420), (270, 480))
QUICK_SIZES: tuple[Size, ...] = ((12, 17),)
COMPILED = ("carn", "fp16", (1080, 1920))
SHARE = {"ceilings": 1.0, "fidelity": 2.0, "time": 1.0, "kernels": 0.3, "compiled": 3.0}
TIMED: tuple[Kind, ...] = ("time", "kernels")
LEAST_S = 6.0  # no section is begun with less than this


@dataclass(frozen=True)
class Section:
    """A section is one part of a run: what a failure of the device takes with it. size: of the
    input.
    """

    kind: Kind
    model: str = ""
    precision: str = ""
    size: Size = (0, 0)

    @property
    def name(self) -> str:
        """Names it for people; unique."""
        size = f"{self.size[1]}x{self.size[0]}" if self.size[0] else ""
        return " ".join(part for part in (self.kind, self.model, self.precision, size) if part)

    @property
    def facts(self) -> Record:
        """Gives what its records have in common."""
        return {"kind": self.kind, "model": self.model, "precision": self.precision}


def parse_section(text: str) -> Section:
    """Parses the name of a section; its words may have `:` in place of spaces.

    Raises:
        UsageError: no kind, model or precision of this name, or too few or too many words.
    """
    kind, *words = text.replace(":", " ").split() or [""]
    known: list[Sequence[str]] = [] if kind == "ceilings" else [MODELS, PRECISIONS]
    has_size = kind in (*TIMED, "compiled")
    fits = kind in get_args(Kind) and len(words) == len(known) + has_size
    if not fits or any(word not in names for word, names in zip(words, known, strict=False)):
        raise UsageError(
            f"no section is named {text!r}; expected ceilings, or fidelity MODEL PRECISION, or "
            f"{', '.join(TIMED)} or compiled with MODEL PRECISION WIDTHxHEIGHT "
            f"({', '.join(MODELS)}; {', '.join(PRECISIONS)})"
        )
    model, precision = words[:2] if known else ("", "")
    size = parse_size(words[2]) if has_size else (0, 0)
    return Section(cast(Kind, kind), model, precision, size)


def make_sections(
    models: Sequence[str],
    precisions: Sequence[str],
    sizes: Sequence[Size],
    fidelity: bool = True,
    compiled: bool = True,
) -> list[Section]:
    """Lists the most important first: ceilings, then for each precision and model whether the
    results are right, the times of each size, and those of each kernel; last what needs
    `torch.compile`.
    """
    sections = [Section("ceilings")]
    for precision in precisions:
        for model in models:
            sections += [Section("fidelity", model, precision)] if fidelity else []
            for kind in TIMED:
                sections += [Section(kind, model, precision, size) for size in sizes]
    model, precision, size = COMPILED
    if compiled and model in models and precision in precisions and size in sizes:
        sections.append(Section("compiled", model, precision, size))
    return sections


def time_limit(section: Section, waiting: Sequence[Section], left_s: float) -> float | None:
    """Gives seconds that a section may take: its share of the rest, larger for larger images, but
    twice that, since most need less. None where too little is left for any: it is dropped.

    waiting: the sections after it.
    """
    if left_s < LEAST_S:
        return None
    share = _weight(section) / (_weight(section) + sum(map(_weight, waiting)))
    return min(left_s, max(LEAST_S, 2 * share * left_s))


def _weight(section: Section) -> float:
    pixels = section.size[0] * section.size[1]
    return SHARE[section.kind] * (1 + pixels / 2**20)
