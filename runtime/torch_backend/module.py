"""An ONNX graph becomes a PyTorch module."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from .arithmetic import exact_arithmetic, isolated
from .epilogues import Epilogues
from .fusions import fusion_report, may_fuse
from .graph import OperatorGraph, read_graph
from .operators import SHAPED_BY_INPUTS
from .program import run_steps, steps_of
from .replacing.candidates import tuned
from .rewrites import fuse_convolutions, fuse_epilogues, in_place, is_typed
from .trial import laid_out, layout_for

CPU = torch.device("cpu")


class OnnxModule:
    """Runs an ONNX graph, or the part of it that the wanted outputs need, operator by operator.

    Constants are on `device`. On CUDA nothing waits for the device and nothing is copied
    to it, so that a run can be captured in a CUDA graph, after a run with the same shapes.

    There, graphs of float16 or bfloat16 keep images channels last (which their outputs may be,
    too), run narrow groups of convolutions as dense ones, and replace convolutions that read the
    image, joins with 1x1 convolutions and grouped 3x3 ones by kernels of ours where a trial at load
    time finds them faster. All graphs end convolutions with the sum and the ReLU behind them where
    a probe finds that cuDNN does so, and others with their bias, sum and activation in one kernel
    of ours; `choices` says what was found.

    Args:
        model: the ONNX file.
        device: where to run.
        outputs: names of the wanted outputs; None: all.

    Raises:
        BackendError: an operator that is not known, no such output, or no onnx package.
        BundleError: not an ONNX model.
    """

    @isolated()
    def __init__(
        self, model: bytes, device: torch.device = CPU, outputs: Sequence[str] | None = None
    ) -> None:
        graph = read_graph(model, outputs)
        typed_cuda = device.type == "cuda" and is_typed(graph)
        graph, self._choices = tuned(graph, device) if typed_cuda else (graph, [])
        self._layout = layout_for(torch.float16 if typed_cuda else torch.float32)
        self._epilogues = Epilogues(device, self._layout)
        graph = fuse_convolutions(graph, partial(may_fuse, device=device))
        graph = in_place(fuse_epilogues(graph, self._epilogues.may_fuse))
        self.inputs, self.outputs = graph.inputs, graph.outputs
        self._as_given = {node.inputs[0] for node in graph.nodes if node.op == "First"}
        self._steps = [*steps_of(graph)]
        on_device = device_names(graph)  # what only shapes the work stays on the CPU
        self.constants = {
            name: laid_out(value.to(device), self._layout) if name in on_device else value
            for name, value in graph.constants.items()
        }

    @property
    def choices(self) -> Sequence[str]:
        """Lines for reports: the layout, what was fused, what was refused, and each trial."""
        layout = "channels last" if self._layout == torch.channels_last else "channels first"
        functions = [step.function for step in self._steps]
        found = [fusion_report(functions), *self._epilogues.report(functions)]
        return [layout, *found, *self._choices]

    @isolated()
    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Runs the graph. Inputs and outputs are ordered as the names in `inputs` and `outputs`.

        Images are [n, c, h, w] of any strides. On CUDA all work is queued on the current stream.
        """
        values = self.constants | {
            name: value if name in self._as_given else laid_out(value, self._layout)
            for name, value in zip(self.inputs, inputs, strict=True)
        }
        on_device = torch.cuda.device_of(inputs[0])  # type: ignore[no-untyped-call]
        with exact_arithmetic(), on_device:  # of our kernels, which run on the current one
            return run_steps(self._steps, values, self.outputs)


def device_names(graph: OperatorGraph) -> set[str]:
    """Names the values that are computed with on the device: all but parameters and arithmetic on
    shapes.

    Raises:
        BackendError: a parameter is known on the device only.
    """
    host = set[str]()
    on_device = {*graph.inputs, *graph.outputs}
    for node in graph.nodes:
        operands = {*(node.inputs[:1] if node.op in SHAPED_BY_INPUTS else node.inputs)} - {""}
        parameters = {*node.inputs} - operands - {""}
        if parameters & on_device - graph.constants.keys():
            node.refuse(f"{node.op} with parameters that are computed from pixels")
        computed = operands - graph.constants.keys()
        if node.op == "Shape" or (computed and computed <= host):
            host.update(node.outputs)
        else:
            on_device |= operands | {*node.outputs}
    return on_device
