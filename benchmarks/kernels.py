"""Defines what the kernels of a network take on GPUs, counted from their compiled form.

    python -m benchmarks.kernels carn fsrcnn --gpu 90

No GPU is needed. Instructions are those of the threads for one output pixel (of convolutions: input
pixel). The floor is the time of a frame at one instruction per cycle and scheduler, with nothing
waited for: a GPU takes longer, or the count is wrong. Loads that wait, products of tensor cores and
the memory's bandwidth are not in it.
"""

from collections.abc import Iterator
from pathlib import Path

import click
import torch
from tabulate import tabulate

from pcsr.bundle import Bundle
from pcsr.cli import command_errors
from pcsr.errors import UsageError
from pcsr.runtime.geometry.grid import hr_size
from pcsr.runtime.kernels.launch import interpreted
from pcsr.runtime.kernels.occupancy import MultiprocessorLimits, resident_programs
from pcsr.runtime.mlps import load_mlps
from pcsr.text import parse_size

from .compiled.cases import SHAPES, Case, convolutions, passes
from .compiled.sass import instructions, most_frequent, turned

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
# Registers, bytes of shared memory, warps and programs of a multiprocessor: CUDA's programming
# guide, technical specifications per compute capability.
LIMITS = {
    80: MultiprocessorLimits(65_536, 164 * 1024, 64, 32),
    86: MultiprocessorLimits(65_536, 100 * 1024, 48, 16),
    89: MultiprocessorLimits(65_536, 100 * 1024, 48, 24),
    90: MultiprocessorLimits(65_536, 228 * 1024, 64, 32),
    100: MultiprocessorLimits(65_536, 228 * 1024, 64, 32),
    120: MultiprocessorLimits(65_536, 100 * 1024, 48, 24),
}
MULTIPROCESSORS, SCHEDULERS, CLOCK = 132, 4, 1.755e9  # of an H100 or H200
WARP = 32
HEADINGS = ("kernel", "sm", "registers", "spilled B", "shared KiB", "programs", "code", "a pixel")


def cases(name: str, precision: str, capability: int) -> Iterator[Case]:
    """Yields the kernels of a shape of `SHAPES`, or of a bundle, for one kind of GPU."""
    dtype = DTYPES[precision]
    if name in SHAPES:
        shape = SHAPES[name]
        yield from passes(shape.mlps(), shape.depth, 4, dtype, capability)
        if dtype != torch.float32:
            yield from convolutions(shape, dtype)
        return
    bundle = Bundle.load(Path(name))
    manifest = bundle.manifest
    depth = manifest.model.feature_width
    yield from passes(load_mlps(bundle), depth, manifest.trained_scale, dtype, capability)


def row(case: Case, capability: int, pixels: float, operations: bool) -> list[str]:
    """Compiles a kernel and counts; `pixels` is how many it computes in a frame."""
    compiled = case.compiled(capability)
    code = instructions(compiled.sass)
    each = turned(code, case.trips, case.persistent) * compiled.warps * WARP / case.pixels
    limits = LIMITS[capability]
    resident = resident_programs(compiled.registers, compiled.shared, compiled.warps, limits)
    floor = each * pixels / WARP / (MULTIPROCESSORS * SCHEDULERS * CLOCK)
    cells = [
        case.name,
        str(capability),
        str(compiled.registers),
        str(compiled.spilled),
        f"{compiled.shared / 1024:.1f}",
        f"{resident} x {compiled.warps} warps",
        str(len(code)),
        f"{each:.0f}",
        f"{1000 * floor:.2f}",
    ]
    return [*cells, most_frequent(code)] if operations else cells


@click.command()
@click.argument("networks", nargs=-1, required=True)
@click.option("--precision", type=click.Choice(tuple(DTYPES)), default="fp16", show_default=True)
@click.option(
    "--gpu", "gpus", multiple=True, type=click.Choice([*map(str, LIMITS)]), help="May repeat."
)
@click.option("--size", default="1920x1080", show_default=True, help="Of the input, for the floor.")
@click.option("--heavy", default=0.2, show_default=True, help="Share of pixels in a list.")
@click.option("--operations", is_flag=True, help="Also the most frequent ones.")
@command_errors
def main(
    networks: tuple[str, ...],
    precision: str,
    gpus: tuple[str, ...],
    size: str,
    heavy: float,
    operations: bool,
) -> None:
    """Print what each kernel of NETWORKS (carn, fsrcnn, srresnet or bundles) takes."""
    if interpreted():
        raise UsageError("TRITON_INTERPRET=1 is set, and nothing is compiled then; unset it")
    lr_size = parse_size(size)
    for name in networks:
        if name not in SHAPES and not Path(name).is_dir():
            raise UsageError(f"{name}: expected a bundle, or one of {', '.join(SHAPES)}")
    for name in networks:
        rows = []
        for gpu in map(int, gpus or LIMITS):
            for case in cases(name, precision, gpu):
                height, width = hr_size(lr_size, case.scale)
                pixels = height * width * (heavy if case.listed else 1)
                rows.append(row(case, gpu, pixels, operations))
        click.echo(f"\n{name}, {precision}; the floor on 132 multiprocessors for {size}\n")
        headings = [*HEADINGS, "floor ms", *(["operations"] if operations else [])]
        click.echo(tabulate(rows, headings, tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()
