"""cuDNN's convolutions with sum and ReLU at the end, used where a probe finds them right."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from .arithmetic import exact_arithmetic
from .graph import Node
from .operators import convolution_options
from .trial import PROBE_SIZE, difference, layout_for, random_source

NAN_BLOCKS = 8


@dataclass(frozen=True)
class FusedKernel:
    """What decides whether a fused kernel exists."""

    shape: tuple[int, ...]
    """The weight's: [O, I / groups, kh, kw]."""
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    adds: bool
    """Whether something is added before the ReLU."""

    @classmethod
    def of(cls, conv: Node, shape: Iterable[int], adds: bool) -> "FusedKernel":
        stride, dilation, pads = convolution_options(conv)
        groups = conv.attributes.get("group", 1)
        return cls(tuple(shape), stride, pads[:2], dilation, groups, adds)

    def fused(self, x: Tensor, weight: Tensor, bias: Tensor | None, added: Tensor | None) -> Tensor:
        """Computes by cuDNN. Raises RuntimeError where there is no such kernel."""
        rest = (bias, self.stride, self.padding, self.dilation, self.groups)
        if added is None:
            return torch.cudnn_convolution_relu(x, weight, *rest)
        return torch.cudnn_convolution_add_relu(x, weight, added, 1.0, *rest)

    def plain(self, x: Tensor, weight: Tensor, bias: Tensor | None, added: Tensor | None) -> Tensor:
        """Computes the same, operator by operator; x is left alone."""
        out = F.conv2d(x, weight, bias, self.stride, self.padding, self.dilation, self.groups)
        if added is not None:
            out = out.add_(added) if out.shape == added.shape else out + added
        return out.relu_()


class FusedConvolution:
    """Runs a ConvRelu or ConvAddRelu of a graph. `refused` is cuDNN's reason, once it has refused:
    from then on the operators run one by one.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._kernel: FusedKernel | None = None
        self.refused: str | None = None

    def __call__(
        self, x: Tensor, weight: Tensor, bias: Tensor | None = None, added: Tensor | None = None
    ) -> Tensor:
        kernel = self._kernel = self._kernel or FusedKernel.of(
            self._node, weight.shape, added is not None
        )
        fits = added is None or added.shape == (x.shape[0], weight.shape[0], *x.shape[2:])
        if fits and not self.refused:
            try:
                return kernel.fused(x, weight, bias, added)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                self.refused = str(error).partition("\n")[0]
        return kernel.plain(x, weight, bias, added)


def may_fuse(conv: Node, weight: Tensor, adds: bool, device: torch.device) -> bool:
    """Says whether cuDNN has this kernel on this device and it computes what the operators do."""
    stride_pads = convolution_options(conv)[2]
    if device.type != "cuda" or stride_pads[:2] != stride_pads[2:]:
        return False
    return probe(FusedKernel.of(conv, weight.shape, adds), weight.dtype, device)


@lru_cache(maxsize=256)
def probe(kernel: FusedKernel, dtype: torch.dtype, device: torch.device) -> bool:
    """Runs the fused kernel on a small random image beside the operators; False where it is
    missing or differs.
    """
    outputs, inputs = kernel.shape[:2]
    random = random_source(device, dtype, layout_for(dtype))
    x = random(1, inputs * kernel.groups, *PROBE_SIZE)
    weight, bias = random(*kernel.shape), random(outputs)
    with torch.no_grad(), exact_arithmetic():
        added = random(1, outputs, *PROBE_SIZE) if kernel.adds else None
        expected = kernel.plain(x, weight, bias, added)
        _leave_nan(expected)
        try:
            found = kernel.fused(x, weight, bias, added)
        except RuntimeError:
            return False
        return not difference(found, expected)


def fusion_report(functions: Iterable[object]) -> str:
    """Writes one line on the fused convolutions among a graph's functions."""
    fused = [f for f in functions if isinstance(f, FusedConvolution)]
    refusals = {f.refused for f in fused if f.refused}
    if not fused:
        return "no fused convolutions"
    running = sum(not f.refused for f in fused)
    return "; ".join([f"{running} of {len(fused)} fused convolutions", *sorted(refusals)])


def _leave_nan(like: Tensor) -> None:
    """Leaves NaN in memory that is about to be handed out: cuDNN's ReLU form adds its own output
    times zero, and must not read it.
    """
    blocks = [torch.full_like(like, float("nan")) for _ in range(NAN_BLOCKS)]
    del blocks
