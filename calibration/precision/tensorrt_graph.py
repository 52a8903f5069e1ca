"""Writes a quantised image graph for TensorRT: explicit Q/DQ nodes from ONNX Runtime's quantiser.

TensorRT's parser takes symmetric activations and weights and float32 biases; its builder fuses what
lies between a DequantizeLinear and the next QuantizeLinear, ReLU and float32 sums included. So only
what a convolution reads is quantised, never what it makes.
"""

import copy
from collections.abc import Collection, Mapping
from functools import partial
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from numpy.typing import DTypeLike, NDArray
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from pcsr.export.graphs.layers import Layers, groups

from .codes import Ranges
from .weights.rounding import Floats, Grid, Round, Storage, nearest, nearest_int8

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
    model: onnx.ModelProto,
    ranges: Ranges,
    chosen: Collection[str],
    precision: str,
    rounding: Round | None = None,
) -> onnx.ModelProto:
    """Returns the model with the convolutions named in `chosen` between Q/DQ nodes of `int8` or
    `fp8` (E4M3). Weights have a scale per output channel, activations one per tensor.

    ranges: least and largest value of each tensor that a chosen layer reads.
    rounding: rounds their weights; None takes the nearest numbers of the format.
    """
    rounding = rounding or partial(nearest, grid=grid_of(precision))
    if not chosen:
        return copy.deepcopy(model)
    model, peak = copy.deepcopy(model), PEAKS[precision]
    layers = Layers(model)
    nodes = [node for node in layers.convolutions if node.name in chosen]
    overrides: dict[str, list[dict[str, Any]]] = {}
    seen: dict[str, tuple[Any, Any]] = {}
    for node in nodes:
        least, most = ranges[node.input[0]]
        seen[node.input[0]] = (np.array(least, np.float32), np.array(most, np.float32))
        largest = max(abs(least), abs(most))
        overrides[node.input[0]] = [_override(max(largest / peak, _LEAST), precision)]
        steps = _round(model, layers, node, rounding, peak)
        overrides[node.input[1]] = [{"axis": 0} | _override(step, precision) for step in steps]
    quantiser = QDQQuantizer(
        model,
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


def _round(
    model: onnx.ModelProto, layers: Layers, node: onnx.NodeProto, rounding: Round, peak: float
) -> NDArray[np.float64]:
    """Gives a convolution of `model` weights that are whole numbers of steps [outputs], which are
    returned, and the bias that goes with them.
    """
    weight, bias = layers.weights[node.input[1]], layers.bias(node)
    peaks = np.abs(weight).reshape(len(weight), -1).max(axis=1)
    steps: Floats = np.maximum(peaks / peak, _LEAST).astype(np.float32).astype(np.float64)
    inputs = weight.shape[1] * groups(node)
    (whole,), (shift,) = rounding(node.name, weight, steps, Storage.plain(inputs))
    name = node.output[0]
    node.input[1:] = [f"{name}_rounded_weight", f"{name}_rounded_bias"]
    arrays = [whole * steps[:, None, None, None], bias + shift]
    model.graph.initializer.extend(
        numpy_helper.from_array(array.astype(np.float32), new)
        for array, new in zip(arrays, node.input[1:], strict=True)
    )
    return steps


def grid_of(precision: str) -> Grid:
    """Returns what rounds weights to `int8` or `fp8`, in units of their steps."""
    return nearest_int8 if precision == "int8" else _nearest_fp8


def _nearest_fp8(values: Floats) -> Floats:
    peak = PEAKS["fp8"]
    found: Floats = np.clip(values, -peak, peak).astype(_DTYPES["fp8"]).astype(np.float64)
    return found


def _override(step: float, precision: str) -> dict[str, Any]:
    return {
        "scale": np.array(step, np.float32),
        "zero_point": np.array(0, _DTYPES[precision]),
        "quant_type": _TYPES[precision],
    }
