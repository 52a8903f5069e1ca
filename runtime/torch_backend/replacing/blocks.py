"""The nodes ResidualBlock and JoinedBlock: a whole residual block of CARN by one kernel of ours,
alone or with the join behind it.

ResidualBlock has the inputs x, packed weights and biases, and the attribute rows (of the tile of
one program). JoinedBlock has the maps that are joined behind these; its outputs are the block's
result, if `keeps`, and the joined one, of as many channels as the attribute outputs says.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from pcsr.runtime.torch_backend.graph import Node, OperatorGraph
from pcsr.runtime.torch_backend.shape_operators import Function

from .sites import Site

ROWS = (8, 6)  # what is tried: more rows of a tile compute fewer twice, fewer take less memory


def block_function(node: Node) -> Function:
    """Makes the function of a ResidualBlock."""
    from pcsr.runtime.kernels.convolutions.residual_block import residual_block

    return partial(residual_block, rows=node.attributes["rows"])


def joined_function(node: Node) -> Function:
    """Makes the function of a JoinedBlock."""
    from pcsr.runtime.kernels.convolutions.residual_block import joined_block

    outputs, keeps, rows = (node.attributes[name] for name in ("outputs", "keeps", "rows"))

    def run(x: Tensor, packed: Tensor, biases: Tensor, *maps: Tensor) -> tuple[Tensor, ...]:
        y, joined = joined_block(x, maps, packed, biases, outputs, keeps, rows)
        return (joined,) if y is None else (y, joined)

    return run


def block_graphs(site: Site) -> Mapping[str, Callable[[], OperatorGraph]]:
    """Gives a site of three convolutions as one kernel, by rows of its tile."""
    return {f"one kernel {rows} rows": partial(_block, site, rows) for rows in ROWS}


def _block(site: Site, rows: int) -> OperatorGraph:
    from pcsr.runtime.kernels.convolutions.residual_block import pack_residual_block

    known, first = site.graph.constants, site.parts[0].conv
    weights = [known[part.conv.inputs[1]] for part in site.parts]
    biases = [
        known[part.bias] if part.bias else torch.zeros(len(weight), dtype=weight.dtype)
        for part, weight in zip(site.parts, weights, strict=True)
    ]
    packed, bias = f"{first.inputs[1]}/block", f"{first.inputs[1]}/biases"
    inputs = (first.inputs[0], packed, bias)
    node = Node("ResidualBlock", first.name, inputs, (site.parts[-1].output,), {"rows": rows})
    made: dict[str, Tensor] = {packed: pack_residual_block(weights)}
    made[bias] = torch.cat(biases).to(torch.float32)
    return replace(site.graph, nodes=(node,), constants=made)
