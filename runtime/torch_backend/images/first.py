"""The node First: a convolution that reads an image, by our own kernel, put in the place of a site.

Its inputs are x, packed weight, bias or "", mean [C] or "", its attributes outputs, side (of the
window), slope (of negative results; 0: ReLU, 1: nothing), tile.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from torch import Tensor

from pcsr.runtime.torch_backend.graph import Node, OperatorGraph
from pcsr.runtime.torch_backend.replacing.sites import Site
from pcsr.runtime.torch_backend.shape_operators import Function

TILES = ((128, 4), (256, 8), (64, 2))  # what is tried: (pixels, warps) of a program


def first_function(node: Node) -> Function:
    """Makes the function of a First node."""
    from pcsr.runtime.kernels.convolutions.first import first

    how = node.attributes
    shape = how["outputs"], how["side"]

    def run(x: Tensor, weight: Tensor, bias: Tensor | None, mean: Tensor | None) -> Tensor:
        return first(x, weight, shape, bias, mean, how["slope"], how["tile"])

    return run


def first_graphs(site: Site) -> Mapping[str, Callable[[], OperatorGraph]]:
    """Gives a site that reads an image as one kernel, by tile."""
    return {f"one kernel {'x'.join(map(str, tile))}": partial(_first, site, tile) for tile in TILES}


def _first(site: Site, tile: tuple[int, ...]) -> OperatorGraph:
    from pcsr.runtime.kernels.convolutions.first import pack_first

    (chain,), source, known = site.parts, site.image, site.graph.constants
    if source is None:
        raise ValueError(f"{site.key} does not read an image")
    weight, packed = known[chain.conv.inputs[1]], f"{chain.conv.inputs[1]}/first"
    constants = {packed: pack_first(weight)}
    mean = f"{source.mean}/first" if source.mean else ""
    if mean:
        constants[mean] = known[source.mean].flatten()
    if chain.bias:
        constants[chain.bias] = known[chain.bias]
    how = {"outputs": len(weight), "side": weight.shape[3], "slope": chain.slope, "tile": tile}
    inputs = (source.name, packed, chain.bias, mean)
    node = Node("First", chain.conv.name, inputs, (chain.output,), how)
    return replace(site.graph, nodes=(node,), constants=constants)
