"""Clocks, power, temperature and throttling of a GPU: by NVML's own package where it is installed,
else as nvidia-smi prints them.
"""

import subprocess
from dataclasses import asdict, dataclass
from importlib.util import find_spec
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
REASONS = {  # bits that slow a GPU down; idling and clocks that a user sets are none
    0x04: "its power limit",
    0x08: "a hardware slowdown",
    0x20: "its temperature (driver)",
    0x40: "its temperature (hardware)",
    0x80: "a power brake",
}


@dataclass(frozen=True)
class Reading:
    """Is the state of a GPU at one moment; None where it does not say."""

    sm_mhz: float | None = None
    """Clock of its cores."""
    most_sm_mhz: float | None = None
    """The highest clock of its cores."""
    memory_mhz: float | None = None
    """Clock of its memory."""
    power_w: float | None = None
    """Power that it draws."""
    power_limit_w: float | None = None
    """Power that it may draw."""
    temperature_c: float | None = None
    """Temperature."""
    reasons: int | None = None
    """Bits of `REASONS`: why its clocks are low."""

    @property
    def throttled_by(self) -> tuple[str, ...]:
        """Says what slows it down, in words."""
        return tuple(text for bit, text in REASONS.items() if (self.reasons or 0) & bit)

    def to_json(self) -> dict[str, Any]:
        """Gives the figures that there are, and `throttled_by`."""
        known = {name: value for name, value in asdict(self).items() if value is not None}
        known.pop("reasons", None)
        return known | {"throttled_by": list(self.throttled_by)}


class GpuSensors:
    """Reads a GPU, found by its UUID: NVML's order of devices need not be CUDA's."""

    def __init__(self, uuid: str) -> None:
        self._uuid = uuid if uuid.startswith("GPU-") else f"GPU-{uuid}"
        self._nvml: Any = None
        if find_spec("pynvml") is not None:
            self._open()

    def _open(self) -> None:
        import pynvml

        try:
            pynvml.nvmlInit()
            self._handle = pynvml.nvmlDeviceGetHandleByUUID(self._uuid)
            self._nvml = pynvml
        except pynvml.NVMLError:
            self._nvml = None

    @property
    def source(self) -> str:
        """Names who tells."""
        return "nvidia-smi" if self._nvml is None else "nvml"

    def read(self) -> Reading | None:
        """Reads the state of now; None where nobody tells."""
        return self._by_smi() if self._nvml is None else self._by_nvml()

    def _by_nvml(self) -> Reading:
        nvml, handle = self._nvml, self._handle

        def ask(name: str, *arguments: Any, scale: float = 1.0) -> float | None:  # noqa: ANN401
            try:
                return float(getattr(nvml, name)(handle, *arguments)) * scale
            except (nvml.NVMLError, AttributeError):
                return None

        reasons = ask("nvmlDeviceGetCurrentClocksEventReasons")
        if reasons is None:  # its name in older packages and drivers
            reasons = ask("nvmlDeviceGetCurrentClocksThrottleReasons")
        return Reading(
            sm_mhz=ask("nvmlDeviceGetClockInfo", nvml.NVML_CLOCK_SM),
            most_sm_mhz=ask("nvmlDeviceGetMaxClockInfo", nvml.NVML_CLOCK_SM),
            memory_mhz=ask("nvmlDeviceGetClockInfo", nvml.NVML_CLOCK_MEM),
            power_w=ask("nvmlDeviceGetPowerUsage", scale=1e-3),
            power_limit_w=ask("nvmlDeviceGetEnforcedPowerLimit", scale=1e-3),
            temperature_c=ask("nvmlDeviceGetTemperature", nvml.NVML_TEMPERATURE_GPU),
            reasons=None if reasons is None else int(reasons),
        )

    def _by_smi(self) -> Reading | None:
        values = ask_smi(tuple(FIELDS), self._uuid)
        if not values:
            return None
        found = {FIELDS[name]: _number(text) for name, text in values.items()}
        bits = None
        for name in ("clocks_event_reasons.active", "clocks_throttle_reasons.active"):
            bits = bits or ask_smi((name,), self._uuid).get(name)
        return Reading(**found, reasons=_bits(bits))


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


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:  # [N/A]
        return None


def _bits(text: str | None) -> int | None:
    try:
        return int(text or "", 16)
    except ValueError:
        return None
