"""Networks, plans and runs as the compiled convolutions take them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcsr.errors import BackendError

from .layers import Floats, Layer, Network
from .packing import pack, padded
from .plan import Plan, Strip, make_plan

try:
    from pcsr.runtime.cpu._convolutions import ffi, lib
except ImportError as error:
    raise BackendError(
        f"pcsr's compiled convolutions do not load ({error}); run pip install "
        "--no-cache-dir --force-reinstall pcsr on a machine with a C compiler"
    ) from error

__all__ = ["ACTIVATIONS", "Program", "Workspace", "ffi", "has_instructions", "lib"]

ACTIVATIONS = {
    "linear": lib.PCSR_LINEAR,
    "relu": lib.PCSR_RELU,
    "slopes": lib.PCSR_SLOPES,
    "clip": lib.PCSR_CLIP,
}


def has_instructions() -> bool:
    """Tells whether this processor, and the compiler of this module, have those for bf16."""
    return bool(lib.pcsr_can_convolve(lib.PCSR_CONVOLVE_BF16))


class Program:
    """The steps of a network with their packed weights, for images of any size."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.steps = ffi.new("pcsr_step[]", len(network.layers) + 1)
        self._kept: list[Any] = []  # cffi structs do not keep what they point to alive
        step = self.steps[0]
        step.kind, step.across, step.added = lib.PCSR_NORMALISE, network.image_columns, -1
        step.bias = self._keep("float[]", np.concatenate([network.mean, network.std]))
        for step, layer, delay in zip(
            self.steps[1 : len(self.steps)], network.layers, network.delays(), strict=True
        ):
            self._fill(step, layer)
            step.delay = delay
        for index in range(len(network.layers)):
            self.steps[index].out = index
        step = self.steps[len(network.layers)]
        step.features, step.out = self.features, -1

    @property
    def features(self) -> int:
        """The channels that the last layer makes."""
        return self.network.layers[-1].outputs

    def _fill(self, step: Any, layer: Layer) -> None:  # noqa: ANN401
        packed, activation = pack(self.network, layer), layer.activation
        step.kind = lib.PCSR_CONVOLVE_BF16
        step.kernel, step.across = layer.kernel, packed.across
        step.inputs, step.outputs = len(packed.blocks), len(packed.reads)
        blocks = [(block.tensor + 1, block.index, block.used) for block in packed.blocks]
        step.input = self._hold(ffi.new("pcsr_block[]", blocks))
        step.reads = self._hold(ffi.new("pcsr_reads[]", packed.reads))
        step.weights = self._keep("uint16_t[]", packed.weights)
        step.bias = self._keep("float[]", packed.bias)
        step.activation = ACTIVATIONS[activation.kind]
        step.activate_first = layer.activates_first
        step.slopes = self._keep("float[]", padded(activation.slopes))
        step.low, step.high = activation.low, activation.high
        step.added = -1 if layer.added is None else layer.added + 1

    def _keep(self, kind: str, array: NDArray[Any]) -> Any:  # noqa: ANN401
        return self._hold(ffi.from_buffer(kind, np.ascontiguousarray(array)))

    def _hold(self, pointer: Any) -> Any:  # noqa: ANN401
        self._kept.append(pointer)
        return pointer


class Workspace:
    """The memory that one call at a time runs in, on strips of one (height, width)."""

    def __init__(self, program: Program, size: tuple[int, int], threads: int) -> None:
        plan = make_plan(program.network, size, threads)
        self.size, self.threads, self.size_bytes = size, threads, plan.workspace_bytes
        self._program, self._memory = program, np.zeros(plan.workspace_bytes, np.uint8)
        for begin, end, byte in plan.filled:
            self._memory[begin:end] = byte
        self._claimed = np.zeros(plan.rounds * len(program.steps) * plan.parts, np.uint8)
        tensors = [
            (each.start, each.line_bytes, each.row_bytes, each.outside, each.rows)
            for each in plan.stored
        ]
        self._tensors = ffi.new("pcsr_tensor[]", tensors)
        self._network = ffi.new("pcsr_network *")
        self._network.tensors, self._network.steps = len(tensors), len(program.steps)
        self._network.tensor, self._network.step = self._tensors, program.steps
        self._run = self._filled(plan)
        self._held: tuple[Floats, Floats] | None = None

    def _filled(self, plan: Plan) -> Any:  # noqa: ANN401
        run = ffi.new("pcsr_run *")
        run.height, run.width = plan.size
        run.round_rows, run.rounds = plan.round_rows, plan.rounds
        run.parts, run.columns = plan.parts, plan.columns
        run.workspace = ffi.from_buffer("uint8_t[]", self._memory)
        run.claimed = ffi.from_buffer("uint8_t[]", self._claimed)
        return run

    def begin(self, image: Floats, features: Floats, strip: Strip) -> None:
        """Begins a run: of an image [1, 3, h, w] to features [1, D, h, w], both contiguous."""
        self._held = image, features  # a thread may outlast a call that is interrupted
        self._claimed[:] = 0
        run, left = self._run, strip.seen.start
        run.finished = run.stopped = 0
        run.stride, run.plane = image.shape[3], image.shape[2] * image.shape[3]
        run.first, run.last = strip.wanted.start - left, strip.wanted.stop - left
        run.image = ffi.from_buffer("float[]", image) + left
        run.features = ffi.from_buffer("float[]", features) + left

    def compute(self, thread: int) -> None:
        """Takes part in the run, without the GIL, until all is computed or it is stopped."""
        lib.pcsr_convolve(self._network, self._run, thread)

    def end(self) -> None:
        """Lets go of the image and the features of a run that is over."""
        self._held = None

    def stop(self) -> None:
        """Ends the run early."""
        self._run.stopped = 1
