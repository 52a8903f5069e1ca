"""Writes a quantised image graph for TensorRT: explicit Q/DQ nodes from ONNX Runtime's quantiser.

TensorRT's parser takes symmetric activations and weights and float32 biases; its builder fuses what
lies between a DequantizeLinear and the next QuantizeLinear, ReLU and float32 sums included. So only
what a convolution reads is quantised, never what it makes.
"""

import copy
from collections.abc import Collection, Mapping
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from numpy.typing import DTypeLike
from onnxruntime.quantization import CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from pcsr.export.graphs.layers import Layers

from .codes import Ranges

PEAKS = {"int8": 127.0, "fp8": 448.0}
_DTYPES: Mapping[str, DTypeLike] = {"int8": np.int8, "fp8": ml_dtypes.float8_e4m3fn}
_TYPES = {"int8": QuantType.QInt8, "fp8": QuantType.QFLOAT8E4M3FN}
_LEAST = 1e-8
_SETTINGS = {
    "ActivationSymmetric": True,
    "WeightSymmetric": True,
    "QuantizeBias": False,
    "AddQDQPairToWeight": True,
    "OpTypesToExcludeOutputQuantization": ["Conv"],
    "ForceQuantizeNoInputCheck": True,
}


def tensorrt_graph(
    model: onnx.ModelProto, ranges: Ranges, chosen: Collection[str], precision: str
) -> onnx.ModelProto:
    """Returns the model with the convolutions named in `chosen` between Q/DQ nodes of `int8` or
    `fp8` (E4M3). Weights have a scale per output channel, activations one per tensor.

    ranges: least and largest value of each tensor that a chosen layer reads.
    """
    if not chosen:
        return copy.deepcopy(model)
    layers = Layers(model)
    nodes = [node for node in layers.convolutions if node.name in chosen]
    overrides: dict[str, list[dict[str, Any]]] = {}
    seen: dict[str, tuple[Any, Any]] = {}
    for node in nodes:
        least, most = ranges[node.input[0]]
        seen[node.input[0]] = (np.array(least, np.float32), np.array(most, np.float32))
        overrides[node.input[0]] = [_override(max(abs(least), abs(most)), precision)]
        rows = np.abs(layers.weights[node.input[1]]).reshape(len(layers.bias(node)), -1).max(axis=1)
        overrides[node.input[1]] = [{"axis": 0} | _override(row, precision) for row in rows]
    quantiser = QDQQuantizer(
        copy.deepcopy(model),
        per_channel=True,
        reduce_range=False,
        weight_qType=_TYPES[precision],
        activation_qType=_TYPES[precision],
        tensors_range=TensorsData(CalibrationMethod.MinMax, seen),
        nodes_to_quantize=[node.name for node in nodes],
        nodes_to_exclude=[],
        op_types_to_quantize=["Conv"],
        extra_options={**_SETTINGS, "TensorQuantOverrides": overrides},
    )
    quantiser.quantize_model()
    quantiser.model.topological_sort()
    quantised: onnx.ModelProto = quantiser.model.model
    _give_back(quantised.graph)
    return quantised


def _give_back(graph: onnx.GraphProto) -> None:
    """Lets sums and joins read the float32 tensor again: the quantiser gives all readers the
    rounded one where one reader is quantised.
    """
    makers = {name: node for node in graph.node for name in node.output}
    for node in graph.node:
        if node.op_type in ("Conv", "QuantizeLinear", "DequantizeLinear"):
            continue
        for place, name in enumerate(node.input):
            maker = makers.get(name)
            if maker is not None and maker.op_type == "DequantizeLinear":
                node.input[place] = makers[maker.input[0]].input[0]


def _override(largest: float, precision: str) -> dict[str, Any]:
    scale = np.array(max(largest / PEAKS[precision], _LEAST), np.float32)
    return {
        "scale": scale,
        "zero_point": np.array(0, _DTYPES[precision]),
        "quant_type": _TYPES[precision],
    }
