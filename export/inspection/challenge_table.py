"""The figures of the challenge, as people read them."""

from .challenge import Challenge
from .counts import SIZE, Counts
from .table import aligned
from .timing import RUNS, Measured, PeakMemory

SQUARE = f"{SIZE[1]}x{SIZE[0]}"
CONVENTION = (
    "FLOPs: multiply-adds of convolutions and matrix products without biases, counted once, one "
    "per element of an activation, two of a BatchNorm; activations: elements of convolutions' "
    "results (NTIRE 2022)."
)
NOT_COUNTED = (
    "The graphs of a bundle hold padded channels and folded BatchNorm: count its checkpoint for "
    "parameters, FLOPs, activations and convolutions."
)


def format_challenge(found: Challenge) -> str:
    """Formats a report for a terminal."""
    counted, measured = found.counts, found.measured
    rows = [] if counted is None else _counts(counted)
    rows += [_memory(measured), _time(measured)]
    title = f"{found.path}: {found.form} of {found.architecture}, x{found.scale:g}"
    said = [NOT_COUNTED if counted is None else CONVENTION, _protocol(measured)]
    said += [f"doubtful: {warning}" for warning in measured.warnings]
    return "\n".join([title, aligned(rows), "", *said])


def _counts(counts: Counts) -> list[tuple[str, ...]]:
    return [
        ("parameters", f"{counts.parameters / 1e6:.4f}", "M", ""),
        ("FLOPs", f"{counts.flops / 1e9:.4f}", "G", f"at {SQUARE}"),
        ("activations", f"{counts.activations / 1e6:.4f}", "M", f"at {SQUARE}"),
        ("convolutions", f"{counts.convolutions}", "", ""),
    ]


def _memory(measured: Measured) -> tuple[str, ...]:
    peak = measured.peak_memory
    value = "not known" if peak.mib is None else f"{peak.mib:.1f}"
    return ("peak memory", value, "MiB", _kind(peak, measured.device))


def _kind(peak: PeakMemory, device: str) -> str:
    if peak.mib is None:
        return "this system, or this backend on a GPU, does not say"
    if device != "cpu":
        return "allocated by PyTorch, weights included"
    return f"beyond the {peak.held_before_mib:.0f} that the process held before"


def _time(measured: Measured) -> tuple[str, ...]:
    times = measured.run_time
    spread = f"runs from {min(times.runs_ms):.2f} to {max(times.runs_ms):.2f}"
    return ("run time", f"{times.mean_ms:.2f}", "ms", f"per image, {spread}")


def _protocol(measured: Measured) -> str:
    times = measured.run_time
    sizes = {one.size for one in times.images}
    size = f" of {times.images[0].size[1]}x{times.images[0].size[0]}" if len(sizes) == 1 else ""
    count = f"{len(times.images)} images" if len(times.images) > 1 else "one image"
    threads = f"{measured.threads} thread{'s' * (measured.threads > 1)} of the CPU"
    return (
        f"Run time: mean of {RUNS} runs of {count}{size} after {times.warm_ups} untimed, by "
        f"{times.clock}; {measured.by} on {measured.device} ({measured.device_name}), "
        f"{threads}."
    )
