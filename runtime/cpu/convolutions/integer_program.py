"""A network in 8-bit integers as the compiled convolutions take it."""

from typing import Any

import numpy as np

from .integer_layers import (
    IntegerLayer,
    IntegerNetwork,
    PackedIntegers,
    in_digits,
    pack_image_layer,
    pack_integers,
)
from .structs import ACTIVATIONS, Program, ffi, lib


def has_integer_instructions() -> bool:
    """Tells whether this processor, and the compiler of this module, have those for int8."""
    return bool(lib.pcsr_can_convolve(lib.PCSR_CONVOLVE_INT8))


class IntegerProgram(Program):
    """The steps of a network with their packed weights, for images of any size."""

    network: IntegerNetwork

    def __init__(self, network: IntegerNetwork) -> None:
        super().__init__(network)
        self.steps[0].kind = lib.PCSR_NORMALISE_FLOAT

    def _fill(self, step: Any, layer: Any) -> None:  # noqa: ANN401
        packed = self._packed(layer)
        is_first = layer.inputs == (-1,)
        step.kind = lib.PCSR_CONVOLVE_IMAGE if is_first else lib.PCSR_CONVOLVE_INT8
        step.kernel = step.across = layer.kernel
        step.inputs, step.outputs = len(packed.blocks), len(packed.reads)
        blocks = [(tensor + 1, index, used) for tensor, index, used in packed.blocks]
        step.input = self._hold(ffi.new("pcsr_block[]", blocks))
        step.reads = self._hold(ffi.new("pcsr_reads[]", packed.reads))
        step.weights = self._keep("uint8_t[]", packed.weights.view(np.uint8))
        step.bias = self._keep("float[]", packed.bias)
        step.activation, step.added = ACTIVATIONS[layer.activation.kind], -1
        own = self._hold(ffi.new("pcsr_integers *"))
        own.bias = self._keep("int32_t[]", packed.whole_bias)
        own.scale = self._keep("float[]", packed.scale)
        own.step, own.zero = layer.step, layer.zero
        step.own = own

    def _packed(self, layer: IntegerLayer) -> PackedIntegers:
        if layer.inputs == (-1,):
            return pack_image_layer(layer)
        is_last = layer is self.network.layers[-1]
        return pack_integers(self.network, in_digits(layer) if is_last else layer)
