"""What a model is told in the parameters of its config.pbtxt."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pcsr.errors import UsageError
from pcsr.runtime.geometry.grid import hr_size
from pcsr.runtime.inputs.arguments import (
    Argument,
    checked,
    number,
    refuse_unknown,
    whole,
)
from pcsr.runtime.open import ARGUMENTS as OPENING
from pcsr.runtime.routing.request import ARGUMENTS as ROUTING
from pcsr.runtime.routing.request import RoutingRequest
from pcsr.text import parse_size, size_text

Size = tuple[int, int]


def _count(most: int) -> Argument:
    return whole(f"be a whole number from 1 to {most}", 1, most)


def _sizes(value: Any) -> tuple[Size, ...]:  # noqa: ANN401
    return tuple((int(height), int(width)) for height, width in value)


def _flag(value: str) -> bool:
    if value not in ("true", "false"):
        raise ValueError("neither true nor false")
    return value == "true"


ARGUMENTS = {
    "backend": OPENING["backend"],
    "precision": OPENING["precision"],
    "threads": OPENING["threads"],
    "concurrency": _count(256),
    "compute_concurrency": whole("be a whole number from 1 to 256, or None", 1, 256, optional=True),
    "max_pending": _count(2**20),
    "max_pending_mib": _count(2**30),
    "max_input_pixels": _count(2**31 - 1),
    "max_output_pixels": _count(2**31 - 1),
    "max_encoded_mib": _count(2**20),
    "timeout_ms": number(
        "be a number of milliseconds above 0", lambda ms: 0 < ms < math.inf, optional=True
    ),
    "warm_up": Argument("be sizes (height, width)", _sizes),
}
"""What each field of `Settings` may be."""
_READ: dict[str, Callable[[str], Any]] = {
    "backend": str,
    "precision": str,
    "preset": str,
    "warm_up": lambda value: tuple(parse_size(one) for one in value.split(",")),
    "timeout_ms": float,
    "k": float,
    "heavy_ratio": float,
    "budget_ms": float,
    "max_psnr_loss_db": float,
    "adaptive": _flag,
    "adaptive_budget": _flag,
    "refine": _flag,
}
"""How a parameter's text is read; the others are whole numbers."""


@dataclass(frozen=True)
class Settings:
    """Describes how a model opens its bundle and what it takes from clients.

    Raises:
        UsageError: a value of another type or out of its range.
    """

    backend: str = "auto"
    precision: str = "fp32"
    threads: int | None = None
    """Threads of the CPU, shared by all calls; None takes the cores that the server may use."""
    concurrency: int = 4
    """How many requests are decoded, computed and encoded at once."""
    compute_concurrency: int | None = None
    """How many of them compute at once; None is 1 on the CPU and 2 on a GPU."""
    max_pending: int = 64
    """How many requests may be there at once, those at work included."""
    max_pending_mib: int = 512
    """How much memory their images may take as they came."""
    max_input_pixels: int = 2**24
    max_output_pixels: int = 2**27
    max_encoded_mib: int = 64
    """How large an encoded image may be."""
    timeout_ms: float | None = None
    """The deadline of requests that name none."""
    warm_up: tuple[Size, ...] = ()
    """Sizes (height, width) of images that are computed before the model is ready."""
    routing: Mapping[str, Any] = field(default_factory=dict)
    """How requests are routed that name no routing, as keywords of a call."""

    def __post_init__(self) -> None:
        given = {name: value for name, value in vars(self).items() if name != "routing"}
        for name, value in checked(given, ARGUMENTS).items():
            object.__setattr__(self, name, value)
        RoutingRequest.of(self.routing)
        self._check_sizes()

    def _check_sizes(self) -> None:
        """Refuses what each alone is right, and not beside another."""
        if self.compute_concurrency and self.compute_concurrency > self.concurrency:
            raise UsageError(
                f"compute_concurrency must be at most concurrency ({self.concurrency}), found "
                f"{self.compute_concurrency}: requests that compute are among those at work"
            )
        for size in self.warm_up:
            refuse_warm_up(size, self.max_input_pixels, "max_input_pixels")

    @property
    def opening(self) -> dict[str, Any]:
        """The arguments of `Upscaler` but for bundle and device."""
        names = ("backend", "precision", "threads")
        return {name: getattr(self, name) for name in names} | dict(self.routing)

    @property
    def parameters(self) -> dict[str, str]:
        """The texts of all fields that have a value, by name; those of the routing are beside
        them.
        """
        fields = asdict(self) | dict(self.routing)
        del fields["routing"]
        fields["warm_up"] = ",".join(size_text(size) for size in self.warm_up)
        return {n: _written(value) for n, value in fields.items() if value not in (None, "")}

    @classmethod
    def of_options(cls, options: Mapping[str, Any]) -> "Settings":
        """Makes them of keywords, where those of the routing are beside the others; of the routing
        what names nothing (None, adaptive=False) is left out.

        Raises:
            UsageError: an unknown name, or a value that it does not take.
        """
        refuse_unknown(options, [*ARGUMENTS, *ROUTING])
        fields = {name: value for name, value in options.items() if name not in ROUTING}
        named = {name: value for name, value in options.items() if name in ROUTING}
        return cls(**fields, routing=_named(named))

    @classmethod
    def read(cls, parameters: Mapping[str, str]) -> "Settings":
        """Reads them from their texts. Names in capitals are the server's own.

        Examples:
            >>> from pcsr.tritonserver.model.settings import Settings
            >>> settings = Settings.read({"threads": "2", "adaptive": "true"})
            >>> settings.threads, settings.routing
            (2, {'adaptive': True})
            >>> Settings.read(settings.parameters) == settings
            True

        Raises:
            UsageError: an unknown name, or a value that it does not take.
        """
        given = {name: value for name, value in parameters.items() if not name.isupper()}
        return cls.of_options({name: _value(name, value) for name, value in given.items()})


def refuse_warm_up(size: Size, most: int, limit: str, scale: float = 1.0) -> None:
    """Raises UsageError for a size (height, width) whose image, or result at a scale, is larger
    than clients' may be.
    """
    height, width = size if scale == 1.0 else hr_size(size, scale)
    if height * width > most:
        result = "" if scale == 1.0 else f" makes {size_text((height, width))}, which"
        raise UsageError(
            f"the warm_up {size_text(size)}{result} has {height * width} pixels, and {limit} is "
            f"{most}; choose a smaller one"
        )


def _named(routing: Mapping[str, Any]) -> dict[str, Any]:
    """Leaves out what names nothing."""
    return {
        name: value
        for name, value in routing.items()
        if value is not None and not (name == "adaptive" and value is False)
    }


def _value(name: str, value: str) -> Any:  # noqa: ANN401
    try:
        return _READ.get(name, int)(value)
    except ValueError as error:
        raise UsageError(f"the parameter {name} cannot be read, found {value!r:.60}") from error


def _written(value: Any) -> str:  # noqa: ANN401
    return str(value).lower() if isinstance(value, bool) else str(value)
