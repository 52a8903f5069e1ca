"""Holds what comparisons of a bundle with the PyTorch network found, and prints their tables."""

from collections.abc import Sequence
from dataclasses import dataclass

from tabulate import tabulate

from pcsr.errors import VerificationError
from pcsr.text import size_text

ROUTING_TOLERANCE = (
    1e-4  # share of pixels; a logit within rounding of the threshold may fall to either side
)
ROUTING_SLACK_PX = 4
PYTORCH = "PyTorch"


@dataclass(frozen=True, kw_only=True)
class _Comparison:
    """Holds what all comparisons have."""

    what: str
    precision: str = "fp32"
    lr_size: tuple[int, int]
    """(height, width) of the input."""
    scale: float | None
    rerouted_px: int = 0
    """Pixels that went to another upsampler; 0 where there is no routing."""
    pixels: int = 0
    """All output pixels; 0 where there is no routing."""


@dataclass(frozen=True, kw_only=True)
class DifferenceCheck(_Comparison):
    """Holds the difference that one comparison with PyTorch gave."""

    difference: float
    """In fp32 the largest, where both routed the pixel and its 3x3 neighbourhood alike, relative to
    the largest value if above 1; in half precision the root of the mean square, relative to that of
    PyTorch's values.
    """
    tolerance: float

    @property
    def passed(self) -> bool:
        """Tells whether it is within tolerance, and finite."""
        allowed = max(ROUTING_SLACK_PX, ROUTING_TOLERANCE * self.pixels)
        return self.difference <= self.tolerance and self.rerouted_px <= allowed

    @property
    def found(self) -> str:
        """Tells what it found, in words."""
        return (
            f"difference {self.difference:.1e} (allowed {self.tolerance:.0e}), "
            f"{self.rerouted_px} pixels routed differently"
        )


@dataclass(frozen=True, kw_only=True)
class QualityCheck(_Comparison):
    """Holds what one comparison of a half-precision pipeline with PyTorch in float32 gave, on an
    image whose original at the output's size is known. Rerouted pixels are reported only.
    """

    psnr_loss_db: float
    """PSNR of PyTorch's result against the original, less that of this one."""
    allowed_db: float
    psnr_db: float
    """PSNR of one result against the other."""
    least_db: float

    @property
    def passed(self) -> bool:
        """Tells whether both the original and PyTorch are near enough."""
        return self.psnr_loss_db <= self.allowed_db and self.psnr_db >= self.least_db

    @property
    def found(self) -> str:
        """Tells what it found, in words."""
        return (
            f"PSNR loss {self.psnr_loss_db:.4f} dB (allowed {self.allowed_db:g}), "
            f"{self.psnr_db:.1f} dB from it (at least {self.least_db:g})"
        )


AnyCheck = DifferenceCheck | QualityCheck


def refuse_failed(checks: Sequence[AnyCheck], against: str = PYTORCH) -> None:
    """Raises VerificationError, naming the first failure, unless all of them passed. against: what
    was compared with.
    """
    failed = [check for check in checks if not check.passed]
    if failed:
        first = failed[0]
        kind = "" if first.precision == "fp32" else f" in {first.precision}"
        lost = "nothing" if against == PYTORCH else f"no {first.what}"
        raise VerificationError(
            f"{len(failed)} of {len(checks)} comparisons with {against} failed{kind}, first "
            f"{first.what} at {size_text(first.lr_size)}: {first.found}; {lost} was written"
        )


def format_checks(checks: Sequence[AnyCheck], against: str = PYTORCH) -> str:
    """Formats the tables for a terminal: differences, then quality in half precision."""
    kinds = ((DifferenceCheck, (f"compared with {against}", *_HEAD)), (QualityCheck, _QUALITY_HEAD))
    found = [(head, [_row(c) for c in checks if isinstance(c, kind)]) for kind, head in kinds]
    return "\n\n".join(tabulate(rows, head, disable_numparse=True) for head, rows in found if rows)


_HEAD = ("type", "input", "scale", "difference", "allowed", "rerouted")
_QUALITY_HEAD = ("quality", "type", "input", "scale", "PSNR loss", "allowed", "PSNR", "rerouted")


def _row(check: AnyCheck) -> tuple[str, ...]:
    scale = "" if check.scale is None else f"x{check.scale:g}"
    case = check.what, check.precision, size_text(check.lr_size), scale
    rerouted = f"{check.rerouted_px} of {check.pixels}" if check.pixels else ""
    if isinstance(check, DifferenceCheck):
        return *case, f"{check.difference:.1e}", f"{check.tolerance:.0e}", rerouted
    loss = f"{check.psnr_loss_db:+.4f} dB", f"{check.allowed_db:g} dB", f"{check.psnr_db:.1f} dB"
    return *case, *loss, rerouted
