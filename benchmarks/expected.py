"""Defines what a frame should take on a GPU, from the bytes that it moves and the products that it
makes.

    python -m benchmarks.expected BUNDLE... --size 1920x1080

A stage takes the longer of bytes / bandwidth and operations / rate, at the assumed shares of the
ceilings below. Instructions are not in it: `python -m benchmarks.kernels` counts those of the
passes. docs/performance.md holds both against what an H200 took.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click
import onnx
import torch
from tabulate import tabulate

from pcsr.bundle import Bundle
from pcsr.cli import command_errors
from pcsr.errors import UsageError
from pcsr.export.graphs.analysis import shapes_at
from pcsr.runtime.geometry.grid import hr_size
from pcsr.runtime.kernels.packed import OUTPUTS, PackedMlp, PackedMlps
from pcsr.runtime.mlps import load_mlps
from pcsr.runtime.torch_backend.graph import Node, OperatorGraph, read_graph
from pcsr.runtime.torch_backend.replacing.candidates import GROUPS, candidates, improved
from pcsr.runtime.torch_backend.replacing.joins import with_joins
from pcsr.runtime.torch_backend.replacing.sites import Site, channels_of
from pcsr.runtime.torch_backend.rewrites import dense_groups, fuse_convolutions, fuse_epilogues
from pcsr.text import parse_size

Shapes = Mapping[str, tuple[int, ...]]

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
EPILOGUES = ("ConvEpilogue", "ConvTransposeEpilogue")
BLOCKS = ("ResidualBlock", "JoinedBlock")
CONVOLUTIONS = ("Conv", "ConvRelu", "ConvAddRelu", "ConvTranspose", *EPILOGUES)

# An H200 as its maker describes it: 4.8 TB/s, 990 TFLOP/s of dense fp16 products.
BANDWIDTH, RATE = 4.8e12, 990e12
MOVED = 0.85  # of the bandwidth, by kernels that only move
CONVOLVED = 0.45  # of the rate, by cuDNN with 48 to 64 channels
MULTIPLIED = 0.25  # of the rate, by chains of small products with gathers between them
OWN = 0.35  # of the rate, by our convolutions
BLOCK = 0.26  # of the rate, by the kernel of residual blocks: 0.359 ms at 1920x1080 on an H200
SHARED, STAGED = 132 * 128 * 1.7e9, 0.6  # bytes a second of all cores' shared memory; used of it
WINDOW, PASSES_OF_A_WINDOW = 64, 3  # channels of 3 pixels, padded; from the cache, in, and out
LAUNCH_MS = 0.002  # of a kernel in a CUDA graph


@dataclass(frozen=True)
class Estimate:
    """Holds the work of one stage, and the time that it should take."""

    name: str
    kernels: int
    bytes: float
    """Moved in the device's memory."""
    operations: float
    """Two per multiply-add."""
    share: float = CONVOLVED
    """Of the rate that they reach."""
    staged: float = 0
    """Bytes through caches and shared memory, where they may count more."""

    @property
    def milliseconds(self) -> float:
        """Adds the longer of moving and computing, and the launches."""
        moving = self.bytes / (BANDWIDTH * MOVED)
        computing = self.operations / (RATE * self.share)
        staging = self.staged / (SHARED * STAGED)
        return 1000 * max(moving, computing, staging) + self.kernels * LAUNCH_MS


def image_stage(bundle: Bundle, precision: str, size: tuple[int, int]) -> Estimate:
    """Counts the backbone, or a plain network, as the torch backend runs it, everything fused."""
    role = bundle.image_role
    data = bundle.graph_bytes(role, precision)
    shapes = shapes_at(onnx.load_model_from_string(data), {"h": size[0], "w": size[1]})
    parts = partial(_parts, shapes=shapes, width=DTYPES[precision].itemsize)
    graph = read_graph(data, [bundle.image_output])
    if precision != "fp32":
        tried = improved(graph, partial(_cheapest, parts=parts))
        graph = with_joins(tried, channels_of(graph), lambda _: True)
    return _sum(role, parts(graph))


def _cheapest(site: Site, parts: Callable[[OperatorGraph], list[Estimate]]) -> str:
    """Chooses as a trial on the device would, by the same count."""
    recipes = candidates(site, partial(_cheapest, parts=parts))
    times = {
        name: sum(part.milliseconds for part in parts(recipe()))
        for name, recipe in recipes.items()
        if name != GROUPS  # of whose speed nothing is known
    }
    return min(times, key=lambda name: times[name])


def _parts(graph: OperatorGraph, shapes: Shapes, width: int) -> list[Estimate]:
    graph = fuse_convolutions(dense_groups(graph), lambda *_: True)
    graph = fuse_epilogues(graph, lambda *_: True)
    nodes = [node for node in graph.nodes if node.outputs[0] in shapes]
    return [_node(node, shapes, graph.constants, width) for node in nodes]


def _node(node: Node, shapes: Shapes, weights: Mapping[str, torch.Tensor], width: int) -> Estimate:
    moved = [n for n in (*node.inputs, *node.outputs) if n in shapes and n not in weights]
    total = float(width * sum(math.prod(shapes[name]) for name in moved))
    if node.op in ("Grouped", "Pointwise"):
        return _ours(node, shapes[node.outputs[0]], weights, width, total)
    if node.op in BLOCKS:
        pixels = math.prod(shapes[node.outputs[0]][2:])
        operations = 2.0 * pixels * weights[node.inputs[1]].numel()
        return Estimate(node.op, 1, total, operations, BLOCK)
    if node.op not in CONVOLUTIONS:
        return Estimate(node.op, 1, total, 0)
    weight = weights[node.inputs[1]]
    result = math.prod(shapes[node.outputs[0]])
    kernels = 1
    if node.op in EPILOGUES:  # bias, sum and activation in one more pass
        total, kernels = total + 2 * width * result, 2
    if node.op.startswith("ConvTranspose"):
        result = math.prod(shapes[node.inputs[0]])
    return Estimate(node.op, kernels, total, 2.0 * weight[0].numel() * result)


def _ours(
    node: Node,
    shape: tuple[int, ...],
    weights: Mapping[str, torch.Tensor],
    width: int,
    total: float,
) -> Estimate:
    """Counts a Grouped or Pointwise node that moves `total` bytes. Products include the padding."""
    pixels = math.prod(shape) // shape[1]
    packed = [weights[n] for n in node.inputs if n in weights and weights[n].ndim == 2]
    operations = 2.0 * pixels * sum(weight.numel() for weight in packed)
    if node.op == "Pointwise":
        return Estimate(node.op, 1, total, operations, OWN)
    rows, groups = node.attributes["tile"][1], node.attributes["groups"]
    staged = PASSES_OF_A_WINDOW * WINDOW * width * groups * (rows + 2) / rows * pixels
    return Estimate(node.op, 1, total, operations, OWN, staged)


def _sum(name: str, parts: list[Estimate]) -> Estimate:
    """Adds the longer of both counts, stage by stage, turned back into bytes at the common rate."""
    seconds = sum(part.milliseconds - part.kernels * LAUNCH_MS for part in parts) / 1000
    return Estimate(name, sum(part.kernels for part in parts), seconds * BANDWIDTH * MOVED, 0)


def pixel_stages(
    bundle: Bundle, precision: str, size: tuple[int, int], scale: float, heavy: float
) -> Iterator[Estimate]:
    """Counts the fused passes of a network with two upsamplers under ADM. heavy: their share."""
    mlps = load_mlps(bundle)
    packed = PackedMlps.of(mlps, DTYPES[precision], "cpu")
    depth, stride = packed.first_weight.shape
    width, lr = DTYPES[precision].itemsize, math.prod(size)
    pixels = math.prod(hr_size(size, scale))
    heavy_pixels = heavy * pixels
    heavier = packed.upsamplers[0]
    dense = [mlp for mlp in (packed.dense, packed.light, packed.classifier) if mlp]
    yield Estimate("first layers", 1, lr * (depth + stride) * width, 2.0 * lr * depth * stride)
    read = sum(mlp.width for mlp in dense) * width + 12
    work = sum(map(_products, dense))
    yield Estimate("dense", 1, lr * read + pixels * 16, 2 * work * pixels, MULTIPLIED)
    yield Estimate("ADM", 3, pixels * 8, 0)
    yield Estimate("route", 2, pixels * 9 + 4 * heavy_pixels, 0)
    touched = heavy_pixels * (heavier.width * width / 4 + 16)  # 4 neighbours share an input pixel
    yield Estimate("upsampler_0", 1, touched, 2 * _products(heavier) * heavy_pixels, MULTIPLIED)
    yield Estimate("finish", 1, pixels * 16, 0)


def _products(mlp: PackedMlp) -> int:
    """Counts multiply-adds of a pixel behind the first layer, padding included."""
    return mlp.width**2 * max(0, mlp.layers - 1) + mlp.width * OUTPUTS * min(mlp.layers, 1)


def expect(bundle: Bundle, precision: str, size: tuple[int, int], heavy: float) -> list[Estimate]:
    """Estimates the stages of one frame, at the scale that the network was trained for."""
    stages = [image_stage(bundle, precision, size)]
    if bundle.upsamplers not in (0, 2):
        raise UsageError(f"{bundle.path} has {bundle.upsamplers} upsamplers; only two are counted")
    if bundle.upsamplers:
        scale = bundle.manifest.trained_scale
        stages += pixel_stages(bundle, precision, size, scale, heavy)
    return stages


@click.command()
@click.argument("bundles", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--size", "sizes", multiple=True, default=["420x276", "960x540", "1920x1080"])
@click.option("--precision", default="fp16", show_default=True)
@click.option("--heavy", default=0.2, show_default=True, help="Share of heavy pixels.")
@command_errors
def main(bundles: tuple[Path, ...], sizes: tuple[str, ...], precision: str, heavy: float) -> None:
    """Print what each stage of a frame should take, in milliseconds."""
    for path in bundles:
        bundle = Bundle.load(path)
        columns = {}
        for text in sizes:
            stages = expect(bundle, precision, parse_size(text), heavy)
            columns[text] = {stage.name: stage.milliseconds for stage in stages}
            columns[text]["sum"] = sum(stage.milliseconds for stage in stages)
        names = list(next(iter(columns.values())))
        rows = [(name, *(f"{column[name]:.3f}" for column in columns.values())) for name in names]
        click.echo(f"\n{path.name}, {precision}, {heavy:.0%} heavy\n")
        click.echo(tabulate(rows, ("ms", *columns), tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()
