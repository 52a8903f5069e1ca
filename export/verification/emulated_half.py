"""Runs typed graphs on a CPU that lacks the type: float32 arithmetic in ONNX Runtime, every result
rounded, as hardware does that accumulates in float32 and writes each tensor in half precision.

ONNX Runtime runs fp16 graphs on most CPUs too, but leaves out the rounding between neighbours, and
has no bf16 convolutions at all.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import helper

from pcsr.export.graphs.half_precision import FLOAT, TYPES, overflow, rename
from pcsr.export.graphs.layers import Layers, rewritten
from pcsr.runtime.process.cancellation import Cancellation

Floats = NDArray[np.float32]
HALVES = frozenset(TYPES.values())


class RoundingRunner:
    """Runs typed graphs, given by role, and refuses any value beyond the type's range. It is a
    runner of the runtime. Row maps pass as float32.
    """

    def __init__(self, graphs: Mapping[str, bytes], precision: str) -> None:
        models = {role: onnx.load_from_string(data) for role, data in graphs.items()}
        self._sessions = {role: _session(emulated(model)) for role, model in models.items()}
        self._outputs = {role: [v.name for v in m.graph.output] for role, m in models.items()}
        self._precision = precision

    def run_image(
        self,
        role: str,
        image: Floats,
        outputs: Sequence[str],
        cancellation: Cancellation | None = None,
    ) -> list[Floats]:
        found = self.run(role, {"image": image})
        return [found[name] for name in outputs]

    def run_rows(self, role: str, inputs: dict[str, NDArray[Any]]) -> Floats:
        (found,) = self.run(role, inputs).values()
        return found

    def run(self, role: str, inputs: Mapping[str, NDArray[Any]]) -> dict[str, Floats]:
        """Returns all outputs of a graph by name.

        Raises:
            VerificationError: a tensor in it is not finite.
        """
        session = self._sessions[role]
        names = [value.name for value in session.get_outputs()]
        found = dict(zip(names, session.run(names, dict(inputs)), strict=True))
        for name, values in found.items():
            if not np.isfinite(values).all():
                raise overflow(role, f"tensor {name}", self._precision)
        return {name: found[name] for name in self._outputs[role]}


def emulated(model: onnx.ModelProto) -> onnx.ModelProto:
    """Returns a typed graph in float32, rounded as its type; what it rounds are further outputs."""
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    values = (*inferred.input, *inferred.value_info, *inferred.output)
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    layers = Layers(model)
    halves = {i.name for i in model.graph.initializer if i.data_type in HALVES}
    weights = {
        name: array.astype(np.float32) if name in halves else array
        for name, array in layers.weights.items()
    }
    new = rewritten(model, (n for node in layers.nodes for n in _rounded(node, types)), weights)
    for value in (*new.graph.input, *new.graph.output):
        if value.type.tensor_type.elem_type in HALVES:
            value.type.tensor_type.elem_type = FLOAT
    for name in layers.maker:
        if types[name] in HALVES and name not in layers.outputs:
            new.graph.output.append(helper.make_tensor_value_info(name, FLOAT, None))
    return new


def _rounded(node: onnx.NodeProto, types: Mapping[str, int]) -> Iterator[onnx.NodeProto]:
    new = copy.deepcopy(node)
    if node.op_type == "Cast" and types[node.output[0]] in {FLOAT, *HALVES}:
        new = helper.make_node("Identity", node.input, node.output)
    halves = [name for name in node.output if types[name] in HALVES]
    for name in halves:
        rename(new.output, name, f"{name}_exact")
    yield new
    for name in halves:
        yield helper.make_node("Cast", [f"{name}_exact"], [f"{name}_half"], to=types[name])
        yield helper.make_node("Cast", [f"{name}_half"], [name], to=FLOAT)


def _session(model: onnx.ModelProto) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    # Optimised, neighbouring casts could go.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
