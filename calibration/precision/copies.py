"""Finds the tensors that are worth more than 8 bits: they are stored in copies (`codes.Code`).

Each copy is rounded at its own offset, and the mean of its weights' roundings is nearer, too: on
both sides a bit more, for twice the multiplications of what makes and what reads the tensor.
"""

from collections.abc import Callable, Collection, Sequence

import onnx

from pcsr.calibration.work_file import ShowProgress
from pcsr.export.graphs.layers import Layers

COPIES = 2
MOST_MORE = 0.4
"""Multiplications that copies may add, as a share of those without."""
_CODES = ":u8"


def copyable(graph: onnx.ModelProto) -> list[str]:
    """Lists the tensors of a quantised graph for CPUs that convolutions make, and of whose codes
    only convolutions and products are made: these are of copies as well.
    """
    layers = Layers(graph)
    names = [name for name in layers.maker if name.endswith(_CODES)]
    return [n.removesuffix(_CODES) for n in names if _is_made(layers, n) and _is_read(layers, n)]


def _is_made(layers: Layers, name: str) -> bool:
    """Tells whether convolutions make these codes, of float32 images that nothing else reads."""
    node = layers.maker[name]
    while node.op_type in ("QuantizeLinear", "Transpose", "Relu"):
        source = node.input[0]
        if layers.only_reader(source) is not node or source not in layers.maker:
            return False
        node = layers.maker[source]
    return node.op_type in ("Conv", "QLinearConv")


def _is_read(layers: Layers, name: str) -> bool:
    """Tells whether only convolutions and products read these codes, or plain joins of them."""
    readers = layers.readers[name]
    return bool(readers) and all(
        reader.op_type in ("QLinearConv", "Cast")
        or (reader.op_type == "Concat" and _is_read(layers, reader.output[0]))
        for reader in readers
    )


def multiplications(graph: onnx.ModelProto) -> int:
    """Counts those that a quantised graph for CPUs does per pixel, but with what is zero between
    groups.
    """
    layers, total = Layers(graph), 0
    for node in layers.nodes:
        at = {"Conv": 1, "QLinearConv": 3, "MatMul": 1}.get(node.op_type)
        if at is not None and node.input[at] in layers.weights:
            weight = layers.weights[node.input[at]]
            windows = weight.reshape(*weight.shape[:2], -1)
            total += int(windows.any(axis=2).sum()) * windows.shape[2]
    return total


def choose_copies(
    names: Sequence[str],
    error: Callable[[Collection[str]], float],
    count: Callable[[Collection[str]], int],
    watch: ShowProgress,
) -> tuple[str, ...]:
    """Takes the tensors whose copies make the error of the whole smaller by most for what they add,
    each measured alone, as many as `MOST_MORE` allows.

    error, count: of a graph in which these are copied: the mean squared difference from fp32, and
    its multiplications.
    """
    if not names:
        return ()
    least_error, least_count = error(()), count(())
    gains: dict[str, float] = {}
    with watch(names, "cpu: copies") as watched:
        for name in watched:
            gain, more = least_error - error((name,)), count((name,)) - least_count
            if gain > 0:
                gains[name] = gain / max(more, 1)
    taken: tuple[str, ...] = ()
    for name in sorted(gains, key=lambda name: gains[name], reverse=True):
        if count((*taken, name)) <= (1 + MOST_MORE) * least_count:
            taken = (*taken, name)
    return taken
