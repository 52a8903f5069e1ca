"""What the values of a graph take, known from the sizes of its inputs alone."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from .shape_rules import RULES
from .shapes import MOST_AXES, Computation, Shape, Value


@dataclass(frozen=True)
class Limits:
    """The most that a graph may take, per pixel (or row)."""

    values: int
    """Values of all its tensors together."""
    macs: int
    """Multiply-adds."""
    tensor: int
    """Values of one tensor."""
    least_pixels: int
    """Fewer pixels count as so many."""

    def times(self, count: int) -> "Limits":
        """Allows `count` times as much of all together; one tensor stays as large."""
        return replace(self, values=self.values * count, macs=self.macs * count)


@dataclass(frozen=True)
class Estimate:
    """What a graph gives and takes for inputs of some size."""

    outputs: Mapping[str, Shape]
    peak: int
    """The most values that are alive at one time, in the order of its nodes, without weights."""


@dataclass(frozen=True)
class GraphShapes:
    """A checked graph without its weights."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    constants: Mapping[str, Value]
    nodes: tuple[Computation, ...]

    def estimate(self, inputs: Mapping[str, Shape], pixels: int, limits: Limits) -> Estimate:
        """Goes through the graph for inputs of these shapes, and computes nothing.

        Raises:
            ValueError: its nodes do not fit together, or take more than these limits for so many
                pixels.
        """
        pixels = max(pixels, limits.least_pixels)
        known = dict(self.constants) | {name: Value(shape) for name, shape in inputs.items()}
        alive = {name: known[name].count for name in inputs}
        last = {name: node for node in self.nodes for name in node.inputs}
        total = macs = peak = 0
        for node in self.nodes:
            results, work = _results(node, known)
            found = dict(zip(node.outputs, results, strict=False))
            known.update(found)
            alive.update({name: value.count for name, value in found.items()})
            peak = max(peak, sum(alive.values()))
            for name in {*node.inputs, *node.outputs}:
                if name not in self.outputs and last.get(name, node) is node:
                    alive.pop(name, None)
            total, macs = total + sum(value.count for value in results), macs + work
            largest = max(value.count for value in results)
            if total > limits.values * pixels or macs > limits.macs * pixels:
                raise ValueError(f"{node.operator} is more work than a graph of a bundle may be")
            if largest > limits.tensor * pixels:
                raise ValueError(f"{node.operator} gives {largest} values for {pixels} pixels")
        return Estimate({name: known[name].shape for name in self.outputs}, peak)

    def shapes(self, inputs: Mapping[str, Shape]) -> dict[str, Shape]:
        """Gives the shapes of all values for inputs of these shapes.

        Raises:
            ValueError: its nodes do not fit together.
        """
        known = dict(self.constants) | {name: Value(shape) for name, shape in inputs.items()}
        for node in self.nodes:
            results, _ = _results(node, known)
            known.update(zip(node.outputs, results, strict=False))
        return {name: value.shape for name, value in known.items()}


def _results(node: Computation, known: Mapping[str, Value]) -> tuple[list[Value], int]:
    given = [known[name] if name else None for name in node.inputs]
    try:
        results, work = RULES[node.operator](node, given)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise ValueError(f"{node.operator} does not fit its inputs: {error}") from error
    shapes = [result.shape for result in results]
    is_odd = any(min(shape, default=0) < 0 or len(shape) > MOST_AXES for shape in shapes)
    if not results or len(results) < len(node.outputs) or is_odd:
        raise ValueError(f"{node.operator} does not fit its inputs")
    return results, work
