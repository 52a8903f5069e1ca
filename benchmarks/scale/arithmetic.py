"""The arithmetic: each resource allows so many images a second, and the scarcest decides."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

GPUS = (1, 8, 64, 1000)
IMAGES = 10**9
MEGA = 1e6
UNITS = {"days": 86400.0, "hours": 3600.0, "minutes": 60.0}


@dataclass(frozen=True)
class Assumed:
    """What is not measured. Each field is an option of the command."""

    gpus_per_node: int = 8
    cores_per_gpu: int = 16
    """Of cores as fast as this machine's."""
    io_threads_per_gpu: int = 8
    """That read and decode, and as many that encode and write: a job's worker has up to so many."""
    network_gb_s: float = 3.0
    """Of a node, in and out together: 25 Gbit/s."""
    store_gb_s: float = 100.0
    """Of the store, reads and writes together."""
    store_writes_s: float = 3500.0
    """Files a second that the store takes below one folder, as S3 states."""
    batch_ms: float = 10.0
    """What a batch of the job costs its one driver."""
    batch_images: int = 64
    gpu_hour_usd: float = 3.0
    """With its share of the node."""
    core_hour_usd: float = 0.04
    """Of machines without a GPU."""
    write_usd: float = 5e-6
    """What the store asks for a file that is written."""


@dataclass(frozen=True)
class Image:
    """What an image of the job amounts to."""

    output_mp: float
    decode_core_s: float
    encode_core_s: float
    compute_core_s: float
    """On a CPU."""
    compute_gpu_s: float
    read_mb: float
    written_mb: float


def bounds(image: Image, assumed: Assumed, gpus: int) -> dict[str, float]:
    """Gives the images a second that each resource of a cluster allows."""
    nodes = math.ceil(gpus / assumed.gpus_per_node)
    moved_gb = (image.read_mb + image.written_mb) / 1000
    return {
        "GPUs": gpus / image.compute_gpu_s,
        "reading": gpus * assumed.io_threads_per_gpu / image.decode_core_s,
        "writing": gpus * assumed.io_threads_per_gpu / image.encode_core_s,
        "cores": gpus * assumed.cores_per_gpu / (image.decode_core_s + image.encode_core_s),
        "network": nodes * assumed.network_gb_s / moved_gb,
        "store's bytes": assumed.store_gb_s / moved_gb,
        "store's files": assumed.store_writes_s,
        "driver": 1000 * assumed.batch_images / assumed.batch_ms,
    }


def summary(image: Image, assumed: Assumed) -> list[list[str]]:
    """Makes the table's rows: the images a second that each resource allows, then the scarcest one,
    the time and the price. A column per number of GPUs.
    """
    allowed = [bounds(image, assumed, gpus) for gpus in GPUS]
    scarcest = [min(each, key=lambda name: each[name]) for each in allowed]
    rates = [each[name] for each, name in zip(allowed, scarcest, strict=True)]
    gigapixels = IMAGES * image.output_mp / 1000
    prices = [
        (gpus * assumed.gpu_hour_usd / 3600 / rate + assumed.write_usd) * IMAGES / gigapixels
        for gpus, rate in zip(GPUS, rates, strict=True)
    ]
    return [
        *(
            [f"{name}, images/s", *(f"{each[name]:,.0f}" for each in allowed)]
            for name in allowed[0]
        ),
        ["bound by", *scarcest],
        ["GPUs at work", *(f"{r / a['GPUs']:.1%}" for r, a in zip(rates, allowed, strict=True))],
        ["a billion images", *(duration(IMAGES / rate) for rate in rates)],
        ["USD a gigapixel", *(f"{price:.4f}" for price in prices)],
    ]


def duration(seconds: float) -> str:
    """Writes a time in its unit, in years from two on."""
    if seconds >= 2 * 365 * UNITS["days"]:
        return f"{seconds / (365 * UNITS['days']):.1f} years"
    unit = next((name for name, length in UNITS.items() if seconds >= 2 * length), "minutes")
    return f"{seconds / UNITS[unit]:.1f} {unit}"


def pixel_costs(image: Image, assumed: Assumed) -> list[list[str]]:
    """Makes the table of what a gigapixel of output costs, stage by stage."""
    per_gigapixel = 1000 / image.output_mp
    gpu_usd_s = assumed.gpu_hour_usd / 3600
    core_usd_s = gpu_usd_s / assumed.cores_per_gpu
    stages: Mapping[str, tuple[float, str, float]] = {
        "decode": (image.decode_core_s, "core s", core_usd_s),
        "compute on an H200": (image.compute_gpu_s, "GPU s", gpu_usd_s),
        "encode, SHA-256": (image.encode_core_s, "core s", core_usd_s),
        "compute on a CPU instead": (image.compute_core_s, "core s", assumed.core_hour_usd / 3600),
    }
    return [
        [name, f"{per_gigapixel * each:.3g}", unit, f"{per_gigapixel * each * usd:.5f}"]
        for name, (each, unit, usd) in stages.items()
    ]
