"""Candidates: the ways to compute a convolution and its surroundings, tried on the device."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache, partial

import torch
from torch import Tensor

from pcsr.runtime.torch_backend.arithmetic import exact_arithmetic
from pcsr.runtime.torch_backend.capture import free_cached_memory
from pcsr.runtime.torch_backend.epilogues import Epilogues
from pcsr.runtime.torch_backend.fusions import may_fuse
from pcsr.runtime.torch_backend.graph import OperatorGraph
from pcsr.runtime.torch_backend.images.first import first_graphs
from pcsr.runtime.torch_backend.program import run_steps, steps_of
from pcsr.runtime.torch_backend.rewrites import (
    KEEPS_GROUPS,
    dense_groups,
    fuse_convolutions,
    fuse_epilogues,
    in_place,
)
from pcsr.runtime.torch_backend.trial import (
    TIMED_SIZE,
    Run,
    device_ms,
    fastest,
    laid_out,
    random_source,
)
from pcsr.runtime.trials.outcome import TrialOutcome

from .blocks import block_graphs
from .convolutions import kernel_graphs
from .joins import CHANNELS, Join, with_joins
from .sites import MOST_PARTS, Site, channels_of, sites_of, spliced

OPERATORS, GROUPS, TOGETHER = "operators", "groups of cuDNN", "one kernel"
SIZE = TIMED_SIZE
LAYOUT = torch.channels_last
Choose = Callable[[Site], str]
Recipe = Callable[[], OperatorGraph]


def improved(graph: OperatorGraph, choose: Choose, most_parts: int = MOST_PARTS) -> OperatorGraph:
    """Puts the chosen candidate in the place of every site of so many parts at most."""
    for site in sites_of(graph, most_parts):
        name = choose(site)
        if name != OPERATORS:
            graph = spliced(graph, site, candidates(site, choose)[name]())
    return graph


def candidates(site: Site, choose: Choose) -> Mapping[str, Recipe]:
    """Gives the candidates by name; the first one is what the graph has. `choose` is asked for the
    parts of a site.
    """
    found: dict[str, Recipe] = {OPERATORS: lambda: site.graph}
    conv = site.parts[0].conv
    if len(site.parts) > 1:
        found["in parts"] = lambda: improved(site.graph, choose, len(site.parts) - 1)
    elif conv.attributes.get("group", 1) > 1:
        found[GROUPS] = lambda: _with_groups(site.graph)
    if site.image:
        return {**found, **first_graphs(site)}
    is_block = len(site.parts) == MOST_PARTS
    return {**found, **(block_graphs(site) if is_block else kernel_graphs(site))}


def tuned(graph: OperatorGraph, device: torch.device) -> tuple[OperatorGraph, list[str]]:
    """Gives a graph of float16 or bfloat16 the fastest of what is right on a device, other narrow
    groups dense, and a line for each kind of site: the winner, and milliseconds at SIZE.
    """
    outcomes: dict[Site | Join, TrialOutcome] = {}

    def choose(site: Site) -> str:
        outcomes[site] = measured(site, device)
        return outcomes[site].winner

    def pays(join: Join) -> bool:
        outcomes[join] = measured_join(join, device)
        return outcomes[join].winner == TOGETHER

    graph = with_joins(improved(graph, choose), channels_of(graph), pays)
    graph = dense_groups(graph)
    if outcomes and device.type == "cuda":
        free_cached_memory()  # maps of SIZE are larger than those of many images
    return graph, [f"{site.key}: {outcome}" for site, outcome in outcomes.items()]


@lru_cache(maxsize=256)
def measured(site: Site, device: torch.device) -> TrialOutcome:
    """Tries the candidates on random maps, once per process, kind of site and device."""
    dtype, layout = site.dtype, LAYOUT
    if site.image:  # as callers give it
        dtype, layout = site.image.dtype(site.dtype), torch.contiguous_format
    random = random_source(device, dtype, layout)
    channels = zip(site.graph.inputs, site.channels, strict=True)
    inputs = {name: random(1, count, *SIZE) for name, count in channels}
    first = inputs[site.graph.inputs[0]]
    on_device = torch.cuda.device_of(first)  # type: ignore[no-untyped-call]
    with torch.no_grad(), exact_arithmetic(), on_device:
        expected = runner(site.graph, inputs)()
        recipes = candidates(site, lambda part: measured(part, device).winner)
        made = {name: partial(_made, recipe, inputs) for name, recipe in recipes.items()}
        return fastest(made, expected, device_ms)


@lru_cache(maxsize=256)
def measured_join(join: Join, device: torch.device) -> TrialOutcome:
    """Tries a block and its join apart and in one kernel, likewise."""
    random = random_source(device, join.dtype, LAYOUT)
    inputs = {name: random(1, CHANNELS, *SIZE) for name in join.inputs}
    on_device = torch.cuda.device_of(inputs[join.inputs[0]])  # type: ignore[no-untyped-call]
    with torch.no_grad(), exact_arithmetic(), on_device:
        expected = runner(join.apart, inputs)()
        made = {
            "apart": lambda: runner(join.apart, inputs),
            TOGETHER: lambda: runner(join.together, inputs),
        }
        return fastest(made, expected, device_ms)


def runner(graph: OperatorGraph, inputs: Mapping[str, Tensor]) -> Run:
    """Gives a function that runs a graph of one output where its inputs are."""
    steps, device = [*steps_of(graph)], next(iter(inputs.values())).device
    known = {name: laid_out(value.to(device), LAYOUT) for name, value in graph.constants.items()}
    return lambda: run_steps(steps, {**known, **inputs}, graph.outputs)[0]


def _made(recipe: Recipe, inputs: Mapping[str, Tensor]) -> Run:
    """Makes a candidate as the whole graph will run it."""
    device = next(iter(inputs.values())).device
    graph = fuse_convolutions(dense_groups(recipe()), partial(may_fuse, device=device))
    return runner(in_place(fuse_epilogues(graph, Epilogues(device, LAYOUT).may_fuse)), inputs)


def _with_groups(graph: OperatorGraph) -> OperatorGraph:
    marked = (replace(n, attributes={**n.attributes, KEEPS_GROUPS: 1}) for n in graph.nodes)
    return replace(graph, nodes=tuple(marked))
