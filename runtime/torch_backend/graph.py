"""An ONNX model is read as nodes and constants, reduced to what the wanted outputs need."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from pcsr.errors import BackendError, BundleError


@dataclass(frozen=True)
class Node:
    """One operator. Where an optional input is absent, its name is ""."""

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]

    def refuse(self, what: str) -> NoReturn:
        """Raises BackendError, because the node asks for something that is not done here."""
        raise BackendError(
            f"the torch backend does not know {what} (node '{self.name}' of this graph); "
            "use backend onnxruntime or tensorrt"
        )

    def only(self, attribute: str, *allowed: Any) -> None:  # noqa: ANN401
        """Refuses the node if its attribute is given and has none of these values."""
        value = self.attributes.get(attribute, allowed[0])
        if value not in allowed:
            self.refuse(f"{self.op} with {attribute} = {value}")


@dataclass(frozen=True)
class OperatorGraph:
    """Holds operators, and names the values between them."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    """The operators, in an order in which they can run."""
    constants: Mapping[str, Tensor]
    """Weights and parameters, on the CPU."""

    def with_nodes(self, nodes: Iterable[Node]) -> "OperatorGraph":
        """Gives the graph with these nodes, less what no output needs."""
        needed, kept = {*self.outputs}, list[Node]()
        for node in reversed([*nodes]):
            if needed.intersection(node.outputs):
                needed.update(node.inputs)
                kept.append(node)
        constants = {name: value for name, value in self.constants.items() if name in needed}
        return replace(self, nodes=tuple(kept[::-1]), constants=constants)


def read_graph(model: bytes, outputs: Sequence[str] | None = None) -> OperatorGraph:
    """Reads the part of an ONNX model that these outputs (None: all) need.

    Raises:
        BackendError: the onnx package is missing, or the model has no such output.
        BundleError: these bytes are no ONNX model.
    """
    onnx = _onnx()
    try:
        graph = onnx.load_model_from_string(model).graph
    except Exception as error:  # of google.protobuf, which need not be importable by this name
        raise BundleError(f"a graph is not an ONNX model ({error}); export it again") from error
    known = tuple(value.name for value in graph.output)
    wanted = known if outputs is None else tuple(outputs)
    if missing := [name for name in wanted if name not in known]:
        raise BackendError(
            f"the graph has no output {missing[0]} (it has: {', '.join(known)}); export it again"
        )
    constants = {proto.name: _tensor(onnx, proto) for proto in graph.initializer}
    nodes = [_node(onnx, proto) for proto in graph.node]
    constants |= {n.outputs[0]: _constant(onnx, n) for n in nodes if n.op == "Constant"}
    inputs = tuple(value.name for value in graph.input if value.name not in constants)
    whole = OperatorGraph(inputs, wanted, (), constants)
    return whole.with_nodes(node for node in nodes if node.op != "Constant")


def uses_of(graph: OperatorGraph) -> Counter[str]:
    """Counts the nodes and outputs that need each value."""
    counts = Counter(name for node in graph.nodes for name in node.inputs)
    counts.update(graph.outputs)
    return counts


def _onnx() -> ModuleType:
    try:
        import onnx
    except ImportError as error:
        raise BackendError(
            f"the torch backend reads graphs with the onnx package, which does not load ({error}); "
            "run pip install onnx"
        ) from error
    return onnx


def _node(onnx: ModuleType, proto: Any) -> Node:  # noqa: ANN401
    values = {a.name: onnx.helper.get_attribute_value(a) for a in proto.attribute}
    texts = {k: v.decode() if isinstance(v, bytes) else v for k, v in values.items()}
    known_domain = proto.domain in ("", "ai.onnx")
    return Node(
        proto.op_type if known_domain else f"{proto.domain}::{proto.op_type}",
        proto.name,
        tuple(proto.input),
        tuple(proto.output),
        texts,
    )


def _tensor(onnx: ModuleType, proto: Any) -> Tensor:  # noqa: ANN401
    array = onnx.numpy_helper.to_array(proto)
    if proto.data_type == onnx.TensorProto.BFLOAT16:  # a NumPy type that torch does not take
        return torch.from_numpy(array.astype(np.float32)).to(torch.bfloat16)
    return torch.from_numpy(np.array(array))  # a copy: protobuf's memory is read-only


def _constant(onnx: ModuleType, node: Node) -> Tensor:
    (kind, value), *more = node.attributes.items()
    if kind == "value" and not more:
        return _tensor(onnx, value)
    types = {"value_float": torch.float32, "value_int": torch.int64}
    dtype = types.get(kind.removesuffix("s"))
    if dtype is None or more:
        node.refuse(f"Constant with {kind}")
    return torch.tensor(value, dtype=dtype, device="cpu")
