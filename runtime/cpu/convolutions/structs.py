"""Networks, plans and runs as the compiled convolutions take them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcsr.errors import BackendError

from .layers import Floats, Layer, Network
from .packing import pack, padded
from .plan import BF16, FLOAT, Plan, kept_tensors

try:
    from pcsr.runtime.cpu._convolutions import ffi, lib
except ImportError as error:
    raise BackendError(
        f"pcsr's compiled convolutions do not load ({error}); install pcsr with pip on a machine "
        "with a C compiler"
    ) from error

ACTIVATIONS = {
    "linear": lib.PCSR_LINEAR,
    "relu": lib.PCSR_RELU,
    "slopes": lib.PCSR_SLOPES,
    "clip": lib.PCSR_CLIP,
}
KINDS = {BF16: lib.PCSR_BF16, FLOAT: lib.PCSR_FLOAT}
ARITHMETIC = {"bf16": lib.PCSR_CONVOLVE_BF16, "int8": lib.PCSR_CONVOLVE_INT8}


def can_convolve(precision: str) -> bool:
    """Tells whether this processor has the instructions."""
    return bool(lib.pcsr_can_convolve(ARITHMETIC[precision]))


class Program:
    """A network's steps with their packed weights, for images of any size."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.features = network.layers[-1].outputs
        self.tensors = kept_tensors(network)
        self.steps = ffi.new("pcsr_step[]", len(network.layers) + 1)
        self._kept: list[Any] = []  # cffi structs do not keep what they point to alive
        self._normalise(self.steps[0])
        for index, layer in enumerate(network.layers):
            self._convolve(self.steps[index + 1], index, layer)

    def _tensor(self, layer: int, kind: str) -> int:
        """Gives the index of a kept tensor; -1 where it is not kept."""
        places = [i for i, one in enumerate(self.tensors) if (one.layer, one.kind) == (layer, kind)]
        return places[0] if places else -1

    def _normalise(self, step: Any) -> None:  # noqa: ANN401
        step.kind, step.out, step.kept, step.added = lib.PCSR_NORMALISE, 0, -1, -1
        values = np.concatenate([self.network.mean, self.network.std])
        step.bias = self._keep("float[]", values.astype(np.float32))

    def _convolve(self, step: Any, index: int, layer: Layer) -> None:  # noqa: ANN401
        packed = pack(self.network, layer)
        step.kind, step.kernel = lib.PCSR_CONVOLVE_BF16, layer.kernel
        step.delay = self.network.delays()[index]
        step.inputs, step.outputs = len(packed.blocks), len(packed.reads)
        is_last = index + 1 == len(self.network.layers)
        step.features = layer.outputs if is_last else 0
        blocks = [(self._tensor(one.tensor, BF16), one.block, one.used) for one in packed.blocks]
        step.input = self._hold(ffi.new("pcsr_block[]", blocks))
        step.reads = self._hold(ffi.new("pcsr_reads[]", packed.reads))
        step.weights = self._keep("uint16_t[]", packed.weights)
        step.bias = self._keep("float[]", packed.bias)
        activation = layer.activation
        step.activation = ACTIVATIONS[activation.kind]
        step.activate_first = layer.activates_first
        step.slopes = self._keep("float[]", padded(activation.slopes))
        step.low, step.high = activation.low, activation.high
        step.added = -1 if layer.added is None else self._tensor(layer.added, FLOAT)
        step.out, step.kept = self._tensor(index, BF16), self._tensor(index, FLOAT)

    def _keep(self, kind: str, array: NDArray[Any]) -> Any:  # noqa: ANN401
        return self._hold(ffi.from_buffer(kind, np.ascontiguousarray(array)))

    def _hold(self, pointer: Any) -> Any:  # noqa: ANN401
        self._kept.append(pointer)
        return pointer


class Image:
    """The memory that one call at a time runs in, for images of one size."""

    def __init__(self, program: Program, plan: Plan, parts: int) -> None:
        self.plan, self._parts = plan, parts
        self._workspace = np.zeros(plan.total_bytes, np.uint8)
        tensors = [
            (each.start, each.line_bytes, each.row_bytes, plan.outside, each.rows, KINDS[each.kind])
            for each in plan.stored
        ]
        self._tensors = ffi.new("pcsr_tensor[]", tensors)
        self.network = ffi.new("pcsr_network *")
        self.network.tensors, self.network.steps = len(tensors), len(program.steps)
        self.network.tensor, self.network.step = self._tensors, program.steps
        self._claimed = np.zeros(plan.rounds * len(program.steps) * parts, np.uint8)

    def run(self, image: Floats, features: Floats) -> "Run":
        """Makes a run: image [1, 3, h, w] to features [1, D, h, w]."""
        self._claimed[:] = 0
        view = ffi.new("pcsr_run *")
        view.height, view.width = self.plan.size
        view.round_rows, view.rounds = self.plan.round_rows, self.plan.rounds
        view.parts = self._parts
        view.image, view.features = (ffi.from_buffer("float[]", each) for each in (image, features))
        view.workspace = ffi.from_buffer("uint8_t[]", self._workspace)
        view.claimed = ffi.from_buffer("uint8_t[]", self._claimed)
        return Run(view, len(self._claimed))


class Run:
    """A run that threads take part in."""

    def __init__(self, view: Any, parts: int) -> None:  # noqa: ANN401
        self.view, self._parts = view, parts

    @property
    def is_finished(self) -> bool:
        """Tells whether everything is computed."""
        return bool(self.view.finished == self._parts)

    def stop(self) -> None:
        """Ends it early."""
        self.view.stopped = 1


def convolve(program: Program, image: Image, run: Run, thread: int) -> None:
    """Takes part in a run until all is computed or stopped; releases the GIL."""
    del program  # alive until the call ends
    lib.pcsr_convolve(image.network, run.view, thread)
