"""Clocks, power, temperature and throttling of a GPU, as nvidia-smi prints what NVML tells."""

import subprocess
from dataclasses import asdict, dataclass
from typing import Any

PATIENCE_S = 15
FIELDS = {  # of nvidia-smi -> of `Reading`
    "clocks.sm": "sm_mhz",
    "clocks.max.sm": "most_sm_mhz",
    "clocks.mem": "memory_mhz",
    "power.draw": "power_w",
    "power.limit": "power_limit_w",
    "temperature.gpu": "temperature_c",
}
REASON_FIELDS = ("clocks_event_reasons.active", "clocks_throttle_reasons.active")  # new, old name
REASONS = {  # bits that slow a GPU down; idling and clocks that a user sets are none
    0x04: "its power limit",
    0x08: "a hardware slowdown",
    0x20: "its temperature (driver)",
    0x40: "its temperature (hardware)",
    0x80: "a power brake",
}


@dataclass(frozen=True)
class Reading:
    """A reading is the state of a GPU at one moment: clocks of its cores (SM) and its memory, power
    that it draws and may draw, temperature. None where it does not say.
    """

    sm_mhz: float | None = None
    most_sm_mhz: float | None = None
    memory_mhz: float | None = None
    power_w: float | None = None
    power_limit_w: float | None = None
    temperature_c: float | None = None
    reasons: int | None = None
    """Bits of `REASONS`: why its clocks are low."""

    @property
    def throttled_by(self) -> tuple[str, ...]:
        """Names what slows it down."""
        return tuple(text for bit, text in REASONS.items() if (self.reasons or 0) & bit)

    def to_json(self) -> dict[str, Any]:
        """Gives the figures that there are, and `throttled_by`."""
        known = {name: value for name, value in asdict(self).items() if value is not None}
        known.pop("reasons", None)
        return known | {"throttled_by": list(self.throttled_by)}


def read_gpu(uuid: str) -> Reading | None:
    """Reads the state of a GPU, found by its UUID, for NVML's order of devices need not be CUDA's;
    None where nvidia-smi does not answer.
    """
    for reasons in REASON_FIELDS:
        found = ask_smi((*FIELDS, reasons), uuid)
        if found:
            names = FIELDS | {reasons: "reasons"}
            return Reading(**{names[field]: _number(text) for field, text in found.items()})
    return None


def ask_smi(fields: tuple[str, ...], uuid: str | None = None) -> dict[str, str]:
    """Asks nvidia-smi about a GPU (the first without a uuid), for values without units; none where
    it does not answer.
    """
    command = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
    command += ["-i", uuid] if uuid else []
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=PATIENCE_S
        )
        values = done.stdout.strip().splitlines()[0].split(", ")
    except (OSError, subprocess.SubprocessError, IndexError):
        return {}
    return dict(zip(fields, values, strict=False))


def _number(text: str) -> Any:  # noqa: ANN401
    try:
        return int(text, 16) if text.startswith("0x") else float(text)
    except ValueError:  # [N/A]
        return None
