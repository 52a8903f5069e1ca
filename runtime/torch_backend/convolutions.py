"""The nodes Pointwise and Grouped: convolutions by our own kernels, put in the places of sites.

Pointwise has the inputs maps..., packed weight, bias or "", what is added or "", and the attributes
maps (how many), outputs, slope (of negative results; 0: ReLU, 1: nothing), tile.
Grouped has the inputs x, packed weight, bias or "", and for a 1x1 convolution behind (attribute
projection: its outputs, 0: none) packed weight, bias or "", what is added or ""; its attributes are
groups, outputs (of a group), slope, projection, projection_slope, tile.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from .epilogues import activated
from .graph import Node, OperatorGraph
from .sites import Site

# What is tried: (pixels, warps) of a program, and (pixels, rows, warps).
POINTWISE_TILES = ((128, 4), (64, 4), (128, 8))
GROUPED_TILES = ((64, 4, 4), (64, 8, 4), (32, 8, 2))
PROJECTED_TILES = ((64, 2, 4), (64, 4, 4), (32, 2, 2))


class PointwiseConvolution:
    """Runs a Pointwise node."""

    def __init__(self, node: Node) -> None:
        from pcsr.runtime.kernels.convolutions.pointwise import PointwiseTile, pointwise

        self._kernel, self._how = pointwise, node.attributes
        self._tile = PointwiseTile(*self._how["tile"])

    def __call__(self, *tensors: Any) -> Tensor:  # noqa: ANN401
        count, slope = self._how["maps"], self._how["slope"]
        maps, (weight, bias, added) = tensors[:count], tensors[count:]
        fits = added is None or _fits(added, maps[0], self._how["outputs"])
        with torch.cuda.device_of(maps[0]):  # type: ignore[no-untyped-call]
            out = self._kernel(
                maps,
                weight,
                self._how["outputs"],
                bias,
                added if fits else None,
                slope if fits else 1,
                self._tile,
            )
        return out if fits else activated(out + added, slope)


class GroupedConvolution:
    """Runs a Grouped node."""

    def __init__(self, node: Node) -> None:
        from pcsr.runtime.kernels.convolutions.grouped import GroupedTile, Projection, grouped

        self._kernel, self._projection, self._how = grouped, Projection, node.attributes
        self._tile = GroupedTile(*self._how["tile"])

    def __call__(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        projection_weight: Tensor | None = None,
        projection_bias: Tensor | None = None,
        added: Tensor | None = None,
    ) -> Tensor:
        how, projection = self._how, None
        fits = added is None or _fits(added, x, how["projection"])
        if projection_weight is not None:
            plus, slope = (added, how["projection_slope"]) if fits else (None, 1)
            projection = self._projection(
                projection_weight, how["projection"], projection_bias, plus, slope
            )
        shape = how["groups"], how["outputs"]
        with torch.cuda.device_of(x):  # type: ignore[no-untyped-call]
            out = self._kernel(x, weight, shape, bias, how["slope"], projection, self._tile)
        return out if added is None or fits else activated(out + added, how["projection_slope"])


def _fits(added: Tensor, x: Tensor, channels: int) -> bool:
    """Says whether a sum does not broadcast."""
    return added.shape == (x.shape[0], channels, *x.shape[2:]) and added.dtype == x.dtype


def kernel_graphs(site: Site, is_pointwise: bool) -> Mapping[str, Callable[[], OperatorGraph]]:
    """Gives a site as one kernel, by tile: a 1x1 convolution of a join, or grouped 3x3 ones with a
    1x1 behind or without.
    """
    make = _pointwise if is_pointwise else _grouped
    grouped = PROJECTED_TILES if len(site.parts) > 1 else GROUPED_TILES
    tiles: Sequence[tuple[int, ...]] = POINTWISE_TILES if is_pointwise else grouped
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
