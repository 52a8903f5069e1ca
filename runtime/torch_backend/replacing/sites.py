"""Sites: the places of a graph where our own convolution kernels could stand for operators."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch

from pcsr.runtime.torch_backend.chains import ChainFinder, ConvolutionChain
from pcsr.runtime.torch_backend.graph import Node, OperatorGraph
from pcsr.runtime.torch_backend.images.source import ImageSource, reads_image, source_of
from pcsr.runtime.torch_backend.operators import convolution_options

MOST_MAPS, MOST_OUTPUTS, GROUP, MOST_GROUPS = 4, 128, 16, 8
MOST_PARTS = 3
BLOCK = ([64, 16, 3, 3], [64, 16, 3, 3], [64, 64, 1, 1])  # weights of a residual block
SAME_CHANNELS = frozenset({"LeakyRelu", "PRelu", "Relu", "Sigmoid", "Tanh"})


@dataclass(frozen=True)
class Site:
    """Describes a convolution that reads an image, a 1x1 one of a join, a grouped 3x3 one, maybe
    with a 1x1 one behind, or a residual block of two grouped 3x3 ones and a 1x1 one.
    """

    key: str
    """A line for people, by which equal sites are known."""
    dtype: torch.dtype
    channels: tuple[int, ...] = field(compare=False)
    """The channels of each input of `graph`."""
    graph: OperatorGraph = field(compare=False)
    """The operators, the join flattened; the inputs are the maps and what is added."""
    parts: tuple[ConvolutionChain, ...] = field(compare=False)
    """The convolutions: one, two where a 1x1 one is behind, or three."""
    image: ImageSource | None = field(default=None, compare=False)
    """What the convolution reads, where that is an image."""

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The nodes whose place the site takes, but not those before its first convolution."""
        return tuple(node for part in self.parts for node in part.nodes)

    @property
    def maps(self) -> tuple[str, ...]:
        """The inputs of the graph, without what is added."""
        added = self.parts[-1].added
        return tuple(self.graph.inputs[: -1 if added else None])


def sites_of(graph: OperatorGraph, most_parts: int = MOST_PARTS) -> Iterator[Site]:
    """Finds sites of so many parts at most that have no node in common."""
    finder, taken = _SiteFinder(graph), set[str]()
    for node in graph.nodes:
        if node.outputs[0] not in taken and (site := finder.site(node, most_parts, taken)):
            taken.update(gone.outputs[0] for gone in site.nodes)
            yield site


def spliced(graph: OperatorGraph, site: Site, new: OperatorGraph) -> OperatorGraph:
    """Puts `new`, of the same inputs and output, in a site's place."""
    gone = {node.outputs[0] for node in site.nodes}
    nodes: list[Node] = []
    for node in graph.nodes:
        if node.outputs[0] == site.parts[-1].output:
            nodes += new.nodes
        elif node.outputs[0] not in gone:
            nodes.append(node)
    return replace(graph, constants={**graph.constants, **new.constants}).with_nodes(nodes)


def channels_of(graph: OperatorGraph) -> Mapping[str, int]:
    """Counts the channels of those images whose channels convolutions tell."""
    known: dict[str, int] = {}
    for node in graph.nodes:
        weight = graph.constants.get(node.inputs[1]) if node.op == "Conv" else None
        if weight is not None:
            known[node.inputs[0]] = weight.shape[1] * node.attributes.get("group", 1)
            known[node.outputs[0]] = weight.shape[0]
        elif node.op in SAME_CHANNELS and node.inputs[0] in known:
            known[node.outputs[0]] = known[node.inputs[0]]
        elif node.op == "Add" and known.keys() >= {*node.inputs}:
            known[node.outputs[0]] = max(known[name] for name in node.inputs)
        elif _is_join(node) and known.keys() >= {*node.inputs}:
            known[node.outputs[0]] = sum(known[name] for name in node.inputs)
        elif node.op == "Slice" and node.inputs[0] in known:
            known |= _of_slice(graph, node, known[node.inputs[0]])
    return known


def _of_slice(graph: OperatorGraph, node: Node, channels: int) -> dict[str, int]:
    """Counts the channels of a slice; gives nothing where they are not side by side."""
    limits = [graph.constants.get(name) for name in node.inputs[1:]]
    if len(limits) != 4 or any(limit is None or limit.numel() != 1 for limit in limits):
        return {}
    start, end, axis, step = (int(limit.item()) for limit in limits if limit is not None)
    side_by_side = axis in (1, -3) and step == 1
    return {node.outputs[0]: len(range(channels)[start:end])} if side_by_side else {}


def _is_join(node: Node | None) -> bool:
    return node is not None and node.op == "Concat" and node.attributes.get("axis") in (1, -3)


class _SiteFinder:
    """Answers what is asked about a graph again and again.

    Of the nodes
        a = Conv 3x3, 2 groups (x); b = LeakyRelu(a); c = Conv 1x1 (b); d = Add(x, c);
        e = Concat(x, d); f = Conv 1x1 (e); y = Relu(f)
    the first Conv makes the site "3x3 2 x 16 to 32 LeakyReLU 0.2 + 1x1 32 to 32 sum" of the nodes
    a to d with the inputs x, x (a map, and what is added), and the last one the site
    "1x1 32+32 to 32 ReLU" of f and y, which reads the maps x and d: e is no longer made, if nothing
    else uses it.
    """

    def __init__(self, graph: OperatorGraph) -> None:
        self._graph, self._chains = graph, ChainFinder(graph)
        self._made_by = {name: node for node in graph.nodes for name in node.outputs}
        self._channels = channels_of(graph)

    def site(self, node: Node, most_parts: int, taken: set[str]) -> Site | None:
        """Gives the site that begins at a node, if there is one."""
        first = self._chain(node, taken)
        if first is None:
            return None
        if not first.added and reads_image(node, self._graph.constants[node.inputs[1]]):
            return self._of_image(first)
        if self._is_pointwise(node):
            return self._pointwise(first)
        if first.added or not self._is_grouped(node):
            return None
        parts = [first]
        while len(parts) < most_parts and (behind := self._behind(parts[-1], taken)):
            parts.append(behind)
        x = node.inputs[0]
        if self._is_block(x, parts):
            return self._made((x,), tuple(parts))
        has_projection = len(parts) > 1 and self._is_pointwise(parts[1].conv)
        return self._made((x,), tuple(parts[: 2 if has_projection else 1]))

    def _behind(self, chain: ConvolutionChain, taken: set[str]) -> ConvolutionChain | None:
        """Gives the chain that alone uses the result of this one."""
        following = self._chains.following(chain.output)
        is_conv = following and (self._is_pointwise(following) or self._is_grouped(following))
        return self._chain(following, taken) if following and is_conv else None

    def _is_block(self, x: str, parts: Sequence[ConvolutionChain]) -> bool:
        """Says whether parts are ReLU(x + conv1x1(ReLU(conv3x3(ReLU(conv3x3(x)))))) of CARN."""
        weights = [[*self._graph.constants[part.conv.inputs[1]].shape] for part in parts]
        added = [part.added for part in parts]
        is_activated = all(part.slope == 0 for part in parts)
        return weights == [*BLOCK] and added == ["", "", x] and is_activated

    def _of_image(self, chain: ConvolutionChain) -> Site:
        weight = self._graph.constants[chain.conv.inputs[1]]
        source = source_of(self._graph, self._made_by, chain.conv)
        kind = str(source.dtype(weight.dtype)).removeprefix("torch.")
        key = f"image of {kind}{' less mean' if source.mean else ''}, {self._line(chain, [])}"
        graph = replace(self._graph, inputs=(source.name,), outputs=(chain.output,))
        graph = graph.with_nodes([*source.nodes, *chain.nodes])
        return Site(key, weight.dtype, (weight.shape[1],), graph, (chain,), source)

    def _pointwise(self, chain: ConvolutionChain) -> Site:
        x = chain.conv.inputs[0]
        leaves = tuple(self._leaves(x))
        known = all(name in self._channels for name in leaves)
        return self._made(leaves if known and len(leaves) <= MOST_MAPS else (x,), (chain,))

    def _leaves(self, name: str) -> Iterator[str]:
        node = self._made_by.get(name)
        if node is None or not _is_join(node):
            yield name
            return
        for part in node.inputs:
            yield from self._leaves(part)

    def _made(self, maps: tuple[str, ...], parts: tuple[ConvolutionChain, ...]) -> Site:
        x, added = parts[0].conv.inputs[0], parts[-1].added
        nodes = [node for part in parts for node in part.nodes]
        if maps != (x,):
            nodes.insert(0, Node("Concat", x, maps, (x,), {"axis": 1}))
        weights = [self._graph.constants[part.conv.inputs[1]] for part in parts]
        channels = [self._channels[name] for name in maps]
        channels += [weights[-1].shape[0]] if added else []
        inputs = (*maps, added) if added else maps
        graph = replace(self._graph, inputs=inputs, outputs=(parts[-1].output,))
        key = " + ".join([self._line(part, channels) for part in parts])
        dtype = weights[0].dtype
        return Site(key, dtype, tuple(channels), graph.with_nodes(nodes), parts)

    def _line(self, part: ConvolutionChain, channels: list[int]) -> str:
        weight = self._graph.constants[part.conv.inputs[1]]
        outputs, inputs, side, _ = weight.shape
        groups = part.conv.attributes.get("group", 1)
        maps = channels[:-1] if part.added else channels
        taken = "+".join(map(str, maps)) if side == 1 and sum(maps) == inputs else str(inputs)
        of = f"{groups} x {inputs}" if groups > 1 else taken
        ends = [f"{side}x{side} {of} to {outputs}"]
        ends += ["bias"] if part.bias else []
        ends += ["sum"] if part.added else []
        ends += [{0.0: "ReLU"}.get(part.slope, f"LeakyReLU {part.slope:g}")] * (part.slope != 1)
        return " ".join(ends)

    def _chain(self, conv: Node, taken: set[str]) -> ConvolutionChain | None:
        """Gives the chain of a node; None unless it is a Conv whose weight and bias are known."""
        known = self._graph.constants
        if conv.op != "Conv" or any(name and name not in known for name in conv.inputs[1:]):
            return None
        return self._chains.chain(conv, taken) if known[conv.inputs[1]].ndim == 4 else None

    def _is_pointwise(self, node: Node) -> bool:
        groups: int = node.attributes.get("group", 1)
        return groups == 1 and self._is_plain(node, 1)

    def _is_grouped(self, node: Node) -> bool:
        if not self._is_plain(node, 3):
            return False
        weight = self._graph.constants[node.inputs[1]]
        groups: int = node.attributes.get("group", 1)
        widest = max(weight.shape[0] // groups, weight.shape[1])
        return widest <= GROUP and groups <= MOST_GROUPS and (groups == 1 or widest == GROUP)

    def _is_plain(self, node: Node, side: int) -> bool:
        """Says whether a node is a Conv of this window, stride 1, that keeps the size."""
        weight = self._graph.constants.get(node.inputs[1]) if node.op == "Conv" else None
        if weight is None or [*weight.shape[2:]] != [side, side]:
            return False
        stride, dilation, pads = convolution_options(node)
        is_usual = stride == (1, 1) and dilation == (1, 1) and set(pads) == {side // 2}
        return is_usual and len(weight) <= MOST_OUTPUTS
