"""The nodes Pointwise and Grouped: convolutions by our own kernels, put in the places of sites.

Pointwise has the inputs maps..., packed weight, bias or "", what is added or "", and the attributes
maps (how many), outputs, slope (of negative results; 0: ReLU, 1: nothing), tile.
Grouped has the inputs x, packed weight, bias or "", and for a 1x1 convolution behind (attribute
projection: its outputs, 0: none) packed weight, bias or "", what is added or ""; its attributes are
groups, outputs (of a group), slope, projection, projection_slope, tile.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor

from pcsr.runtime.torch_backend.epilogues import activated
from pcsr.runtime.torch_backend.graph import Node, OperatorGraph
from pcsr.runtime.torch_backend.shape_operators import Function

from .sites import Site

# What is tried: (pixels, warps) of a program, and (pixels, rows, warps).
POINTWISE_TILES = ((128, 4), (64, 4), (128, 8))
GROUPED_TILES = ((64, 4, 4), (64, 8, 4), (32, 8, 2))
PROJECTED_TILES = ((64, 2, 4), (64, 4, 4), (32, 2, 2))


def pointwise_function(node: Node) -> Function:
    """Makes the function of a Pointwise node."""
    from pcsr.runtime.kernels.convolutions.pointwise import pointwise

    how, count = node.attributes, node.attributes["maps"]

    def run(*tensors: Any) -> Tensor:  # noqa: ANN401
        maps, (weight, bias, added) = tensors[:count], tensors[count:]
        kernel = partial(pointwise, maps, weight, how["outputs"], bias, tile=how["tile"])
        return _with_sum(kernel, maps[0], how["outputs"], added, how["slope"])

    return run


def grouped_function(node: Node) -> Function:
    """Makes the function of a Grouped node."""
    from pcsr.runtime.kernels.convolutions.grouped import Projection, grouped

    how = node.attributes
    outputs, shape = how["projection"], (how["groups"], how["outputs"])

    def run(x: Tensor, weight: Tensor, bias: Any, *behind: Any) -> Tensor:  # noqa: ANN401
        kernel = partial(grouped, x, weight, shape, bias, how["slope"], tile=how["tile"])
        if not behind:
            return kernel()
        weight, bias, added = behind

        def projected(added: Tensor | None, slope: float) -> Tensor:
            return kernel(projection=Projection(weight, outputs, bias, added, slope))

        return _with_sum(projected, x, outputs, added, how["projection_slope"])

    return run


def _with_sum(
    kernel: Callable[..., Tensor], x: Tensor, outputs: int, added: Tensor | None, slope: float
) -> Tensor:
    """Runs a kernel with sum and activation at its end; behind it, where the sum broadcasts."""
    shape = (x.shape[0], outputs, *x.shape[2:])
    if added is None or (added.shape == shape and added.dtype == x.dtype):
        return kernel(added=added, slope=slope)
    return activated(kernel(added=None, slope=1) + added, slope)


def kernel_graphs(site: Site) -> Mapping[str, Callable[[], OperatorGraph]]:
    """Gives a site as one kernel, by tile: a 1x1 convolution of a join, or grouped 3x3 ones with a
    1x1 behind or without.
    """
    grouped = PROJECTED_TILES if len(site.parts) > 1 else GROUPED_TILES
    is_pointwise = site.graph.constants[site.parts[0].conv.inputs[1]].shape[2:] == (1, 1)
    make, tiles = (_pointwise, POINTWISE_TILES) if is_pointwise else (_grouped, grouped)
    return {f"one kernel {'x'.join(map(str, tile))}": partial(make, site, tile) for tile in tiles}


def _pointwise(site: Site, tile: tuple[int, ...]) -> OperatorGraph:
    from pcsr.runtime.kernels.convolutions.layout import pack_pointwise

    (chain,) = site.parts
    weight = site.graph.constants[chain.conv.inputs[1]]
    channels = site.channels[: len(site.maps)]
    packed = f"{chain.conv.inputs[1]}/{'+'.join(map(str, channels))}"
    inputs = (*site.maps, packed, chain.bias, chain.added)
    how = {"maps": len(site.maps), "outputs": len(weight), "slope": chain.slope, "tile": tile}
    node = Node("Pointwise", chain.conv.name, inputs, (chain.output,), how)
    return _alone(site, node, {packed: pack_pointwise(weight, channels)})


def _grouped(site: Site, tile: tuple[int, ...]) -> OperatorGraph:
    from pcsr.runtime.kernels.convolutions.layout import pack_grouped, pack_projection

    first, *rest = site.parts
    of, groups = first.conv.inputs[1], first.conv.attributes.get("group", 1)
    weight = site.graph.constants[of]
    made = {f"{of}/packed": pack_grouped(weight, groups)}
    inputs = (*site.maps, f"{of}/packed", first.bias)
    how = {"groups": groups, "outputs": len(weight) // groups, "slope": first.slope}
    how |= {"projection": 0, "projection_slope": 1.0, "tile": tile}
    for chain in rest:
        name, behind = chain.conv.inputs[1], site.graph.constants[chain.conv.inputs[1]]
        made[f"{name}/projection"] = pack_projection(behind, groups)
        inputs += (f"{name}/projection", chain.bias, chain.added)
        how |= {"projection": len(behind), "projection_slope": chain.slope}
    node = Node("Grouped", first.conv.name, inputs, (site.parts[-1].output,), how)
    return _alone(site, node, made)


def _alone(site: Site, node: Node, made: Mapping[str, Tensor]) -> OperatorGraph:
    """Gives the site as one node, with its packed weights."""
    used = {name: v for name, v in site.graph.constants.items() if name in node.inputs}
    return replace(site.graph, nodes=(node,), constants=used | {**made})
