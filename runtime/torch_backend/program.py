"""A graph's nodes as functions that are called one after the other."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from .epilogues import EpilogueConvolution
from .fusions import FusedConvolution
from .graph import OperatorGraph
from .images.first import first_function
from .operators import Maker, function_of
from .replacing.blocks import block_function, joined_function
from .replacing.convolutions import grouped_function, pointwise_function
from .shape_operators import Function

MADE: Mapping[str, Maker] = {
    "ConvAddRelu": FusedConvolution,
    "ConvEpilogue": EpilogueConvolution,
    "ConvRelu": FusedConvolution,
    "ConvTransposeEpilogue": EpilogueConvolution,
    "First": first_function,
    "Grouped": grouped_function,
    "JoinedBlock": joined_function,
    "Pointwise": pointwise_function,
    "ResidualBlock": block_function,
}


@dataclass(frozen=True)
class Step:
    """A node that is ready to run, and which of its inputs nothing needs afterwards."""

    function: Function
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    done_with: tuple[str, ...]


def steps_of(graph: OperatorGraph) -> Iterator[Step]:
    """Makes the steps of a graph. Raises BackendError for an operator that is not known."""
    kept = {*graph.constants, *graph.outputs}
    last = {name: node for node in graph.nodes for name in (*node.inputs, *node.outputs) if name}
    for node in graph.nodes:
        function = MADE.get(node.op, function_of)(node)
        named = {*node.inputs, *node.outputs} - kept
        done = tuple(sorted(name for name in named if last.get(name) is node))
        yield Step(function, node.inputs, node.outputs, done)


def run_steps(
    steps: Sequence[Step], known: Mapping[str, Tensor], outputs: Sequence[str]
) -> tuple[Tensor, ...]:
    """Runs steps and gives the outputs; `known` holds the inputs and constants by name."""
    values = dict(known)
    for step in steps:
        found = step.function(*(values[name] if name else None for name in step.inputs))
        results = (found,) if isinstance(found, Tensor) else found
        values.update(zip(step.outputs, results, strict=True))
        for name in step.done_with:
            del values[name]
    return tuple(values[name] for name in outputs)
