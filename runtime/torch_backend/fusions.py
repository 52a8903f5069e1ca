"""cuDNN's convolutions with sum and ReLU at the end, where this device is shown to have them."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from .arithmetic import exact_arithmetic
from .graph import Node
from .operators import convolution_options

PROBE_SIZE = (24, 40)
POISONED = 8
# Relative to the largest value: one rounding in place of two or three.
TOLERANCE = {torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}


@dataclass(frozen=True)
class Kernel:
    """What decides whether a fused kernel exists. shape: of the weight [O, I / groups, kh, kw]."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    adds: bool

    @classmethod
    def of(cls, conv: Node, shape: Iterable[int], adds: bool) -> "Kernel":
        stride, dilation, pads = convolution_options(conv)
        groups = conv.attributes.get("group", 1)
        return cls(tuple(shape), stride, pads[:2], dilation, groups, adds)

    def fused(self, x: Tensor, weight: Tensor, bias: Tensor | None, added: Tensor | None) -> Tensor:
        """By cuDNN. Raises RuntimeError where there is no such kernel."""
        rest = (bias, self.stride, self.padding, self.dilation, self.groups)
        if added is None:
            return torch.cudnn_convolution_relu(x, weight, *rest)
        return torch.cudnn_convolution_add_relu(x, weight, added, 1.0, *rest)

    def plain(self, x: Tensor, weight: Tensor, bias: Tensor | None, added: Tensor | None) -> Tensor:
        """The same, operator by operator; x is left alone."""
        out = F.conv2d(x, weight, bias, self.stride, self.padding, self.dilation, self.groups)
        if added is not None:
            out = out.add_(added) if out.shape == added.shape else out + added
        return out.relu_()


class FusedConvolution:
    """ConvRelu or ConvAddRelu of a graph. `refused` is cuDNN's reason, once it has refused: from
    then on the operators run one by one.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._kernel: Kernel | None = None
        self.refused: str | None = None

    def __call__(
        self, x: Tensor, weight: Tensor, bias: Tensor | None = None, added: Tensor | None = None
    ) -> Tensor:
        kernel = self._kernel = self._kernel or Kernel.of(
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
    """Whether cuDNN has this kernel on this device and it computes what the operators compute."""
    stride_pads = convolution_options(conv)[2]
    if device.type != "cuda" or stride_pads[:2] != stride_pads[2:]:
        return False
    return probe(Kernel.of(conv, weight.shape, adds), weight.dtype, device)


@lru_cache(maxsize=256)
def probe(kernel: Kernel, dtype: torch.dtype, device: torch.device) -> bool:
    """Runs the fused kernel on a small random image beside the operators; False where it is
    missing or differs.
    """
    generator = torch.Generator().manual_seed(0)
    outputs, inputs = kernel.shape[:2]

    def random(*shape: int) -> Tensor:
        values = torch.randn(*shape, generator=generator).to(device, dtype)
        return values.contiguous(memory_format=layout_for(dtype)) if len(shape) == 4 else values

    x = random(1, inputs * kernel.groups, *PROBE_SIZE)
    weight, bias = random(*kernel.shape), random(outputs)
    with torch.no_grad(), exact_arithmetic():
        added = random(1, outputs, *PROBE_SIZE) if kernel.adds else None
        expected = kernel.plain(x, weight, bias, added)
        _poison(expected)
        try:
            found = kernel.fused(x, weight, bias, added)
        except RuntimeError:
            return False
        largest = expected.abs().max().item()
        return bool(((found - expected).abs() <= TOLERANCE[dtype] * largest).all())


def layout_for(dtype: torch.dtype) -> torch.memory_format:
    """Tensor cores want channels last; float32 without them does not."""
    return torch.contiguous_format if dtype == torch.float32 else torch.channels_last


def fusion_report(functions: Iterable[object]) -> str:
    """One line on the fused convolutions among a graph's functions."""
    fused = [f for f in functions if isinstance(f, FusedConvolution)]
    refusals = {f.refused for f in fused if f.refused}
    if not fused:
        return "no fused convolutions"
    running = sum(not f.refused for f in fused)
    return "; ".join([f"{running} of {len(fused)} fused convolutions", *sorted(refusals)])


def _poison(like: Tensor) -> None:
    """Leaves NaN in memory that is about to be handed out: cuDNN's ReLU form adds its own output
    times zero, and must not read it.
    """
    blocks = [torch.full_like(like, float("nan")) for _ in range(POISONED)]
    del blocks
