"""Where the console scripts begin: interrupts are handled before anything large is imported."""

from typing import Any

from pcsr.interrupts import run_command


def umbrella(*args: Any) -> None:  # noqa: ANN401
    """Runs pcsr, which runs the others."""
    run_command("pcsr.__main__", *args)


def export(*args: Any) -> None:  # noqa: ANN401
    """Runs pcsr-export."""
    run_command("pcsr.export.cli", *args)


def build(*args: Any) -> None:  # noqa: ANN401
    """Runs pcsr-build."""
    run_command("pcsr.runtime.tensorrt.cli", *args)


def upscale(*args: Any) -> None:  # noqa: ANN401
    """Runs pcsr-upscale."""
    run_command("pcsr.runtime.files.cli", *args)


def evaluate(*args: Any) -> None:  # noqa: ANN401
    """Runs pcsr-evaluate."""
    run_command("pcsr.calibration.evaluation.cli", *args)


def profile(*args: Any) -> None:  # noqa: ANN401
    """Runs pcsr-profile."""
    run_command("pcsr.runtime.profiler.cli", *args)


def calibrate(*args: Any) -> None:  # noqa: ANN401
    """Runs pcsr-calibrate."""
    run_command("pcsr.calibration.cli", *args)


def train(*args: Any) -> None:  # noqa: ANN401
    """Runs pcsr-train."""
    run_command("pcsr.training.cli", *args)


def inspect(*args: Any) -> None:  # noqa: ANN401
    """Runs pcsr-inspect."""
    run_command("pcsr.export.inspection.cli", *args)


def doctor(*args: Any) -> None:  # noqa: ANN401
    """Runs pcsr-doctor."""
    run_command("pcsr.runtime.doctor.cli", *args)


def serve(*args: Any) -> None:  # noqa: ANN401
    """Runs pcsr-serve."""
    run_command("pcsr.tritonserver.cli", *args)
