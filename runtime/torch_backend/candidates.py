"""The ways in which a convolution and its surroundings can be computed, tried on the device."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache, partial

import torch
from torch import Tensor

from .arithmetic import exact_arithmetic
from .convolutions import grouped_graphs, pointwise_graphs
from .epilogues import Epilogues
from .fusions import may_fuse
from .graph import Graph
from .program import run_steps, steps_of
from .rewrites import KEEPS_GROUPS, dense_groups, fuse_convolutions, fuse_epilogues, in_place
from .sites import Site, sites_of, spliced
from .trial import Outcome, Run, device_ms, fastest

OPERATORS, GROUPS = "operators", "groups of cuDNN"
SIZE = (540, 960)  # maps that do not stay in the GPU's cache, as those of real images do not
LAYOUT = torch.channels_last
Choose = Callable[[Site], str]
Recipe = Callable[[], Graph]


def improved(graph: Graph, choose: Choose, tails: bool = True) -> Graph:
    """With the chosen candidate in every site's place."""
    for site in sites_of(graph, tails):
        name = choose(site)
        if name != OPERATORS:
            graph = spliced(graph, site, candidates(site, choose)[name]())
    return graph


def candidates(site: Site, choose: Choose) -> Mapping[str, Recipe]:
    """By name, the first what the graph has. choose: for the parts of a site."""
    found: dict[str, Recipe] = {OPERATORS: lambda: site.graph}
    conv = site.parts[0].conv
    if len(site.parts) > 1:
        found["in parts"] = lambda: improved(site.graph, choose, tails=False)
    elif conv.attributes.get("group", 1) > 1:
        found[GROUPS] = lambda: _with_groups(site.graph)
    is_pointwise = tuple(site.graph.constants[conv.inputs[1]].shape[2:]) == (1, 1)
    return {**found, **(pointwise_graphs(site) if is_pointwise else grouped_graphs(site))}


class Chooser:
    """The fastest candidates on a device. outcomes: by site, of those that were asked for."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._outcomes: dict[Site, Outcome] = {}

    def improved(self, graph: Graph) -> Graph:
        """A graph of float16 or bfloat16 with the fastest of what is right."""
        graph = improved(graph, self._choose)
        if self._outcomes and self._device.type == "cuda":
            torch.cuda.empty_cache()  # maps of SIZE are larger than those of many images
        return graph

    def report(self) -> list[str]:
        """A line for each kind of site: the winner, and milliseconds at SIZE."""
        return [f"{site.key}: {outcome}" for site, outcome in self._outcomes.items()]

    def _choose(self, site: Site) -> str:
        outcome = self._outcomes[site] = measured(site, self._device)
        return outcome.winner


@lru_cache(maxsize=256)
def measured(site: Site, device: torch.device) -> Outcome:
    """Tries the candidates on random maps. Once per process, kind of site and device."""
    inputs = random_inputs(site, device, SIZE)
    first = inputs[site.graph.inputs[0]]
    on_device = torch.cuda.device_of(first)  # type: ignore[no-untyped-call]
    with torch.no_grad(), exact_arithmetic(), on_device:
        expected = runner(site.graph, inputs)()
        recipes = candidates(site, lambda part: measured(part, device).winner)
        made = {name: partial(_made, recipe, inputs) for name, recipe in recipes.items()}
        return fastest(made, expected, device_ms)


def runner(graph: Graph, inputs: Mapping[str, Tensor]) -> Run:
    """Runs a graph of one output where its inputs are."""
    steps, device = [*steps_of(graph)], next(iter(inputs.values())).device
    known = {name: _laid_out(value.to(device)) for name, value in graph.constants.items()}
    return lambda: run_steps(steps, {**known, **inputs}, graph.outputs)[0]


def random_inputs(site: Site, device: torch.device, size: tuple[int, int]) -> dict[str, Tensor]:
    """The site's maps and what is added, for one image."""
    generator = torch.Generator(device).manual_seed(0)
    return {
        name: _laid_out(
            torch.randn(1, channels, *size, generator=generator, device=device).to(site.dtype)
        )
        for name, channels in zip(site.graph.inputs, site.channels, strict=True)
    }


def _made(recipe: Recipe, inputs: Mapping[str, Tensor]) -> Run:
    """As the whole graph will run it."""
    device = next(iter(inputs.values())).device
    graph = fuse_convolutions(dense_groups(recipe()), partial(may_fuse, device=device))
    return runner(in_place(fuse_epilogues(graph, Epilogues(device, LAYOUT).may_fuse)), inputs)


def _laid_out(value: Tensor) -> Tensor:
    return value.contiguous(memory_format=LAYOUT) if value.ndim == 4 else value


def _with_groups(graph: Graph) -> Graph:
    marked = [
        replace(node, attributes={**node.attributes, KEEPS_GROUPS: 1})
        if node.op == "Conv"
        else node
        for node in graph.nodes
    ]
    return replace(graph, nodes=tuple(marked))
