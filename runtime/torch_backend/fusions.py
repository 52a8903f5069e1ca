"""cuDNN's convolutions with sum and ReLU at the end, used where a probe finds them right."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .arithmetic import exact_arithmetic
from .graph import Node
from .operators import convolution_options
from .trial import PROBE_SIZE, difference, layout_for, random_source, reason_of

NAN_BLOCKS = 8


def options_of(conv: Node) -> tuple[Any, ...]:
    """Gives stride, padding and dilation (two numbers each), and groups."""
    stride, dilation, pads = convolution_options(conv)
    return stride, pads[:2], dilation, conv.attributes.get("group", 1)


def fused(
    x: Tensor, weight: Tensor, bias: Tensor | None, added: Tensor | None, options: tuple[Any, ...]
) -> Tensor:
    """Computes by cuDNN. Raises RuntimeError where there is no such kernel."""
    if added is None:
        return torch.cudnn_convolution_relu(x, weight, bias, *options)
    return torch.cudnn_convolution_add_relu(x, weight, added, 1.0, bias, *options)


def plain(
    x: Tensor, weight: Tensor, bias: Tensor | None, added: Tensor | None, options: tuple[Any, ...]
) -> Tensor:
    """Computes the same, operator by operator; x is left alone."""
    out = F.conv2d(x, weight, bias, *options)
    if added is not None:
        out = out.add_(added) if out.shape == added.shape else out + added
    return out.relu_()


class FusedConvolution:
    """Runs a ConvRelu or ConvAddRelu. `refused` is cuDNN's reason, once it has refused: the
    operators run one by one from then on.
    """

    def __init__(self, node: Node) -> None:
        self._options = options_of(node)
        self.refused = ""

    def __call__(
        self, x: Tensor, weight: Tensor, bias: Tensor | None = None, added: Tensor | None = None
    ) -> Tensor:
        fits = added is None or added.shape == (x.shape[0], weight.shape[0], *x.shape[2:])
        if fits and not self.refused:
            try:
                return fused(x, weight, bias, added, self._options)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                self.refused = reason_of(error)
        return plain(x, weight, bias, added, self._options)


def may_fuse(conv: Node, weight: Tensor, adds: bool, device: torch.device) -> bool:
    """Says whether cuDNN has this kernel on this device and it computes what the operators do."""
    pads = convolution_options(conv)[2]
    if device.type != "cuda" or pads[:2] != pads[2:]:
        return False
    return probe(tuple(weight.shape), options_of(conv), adds, weight.dtype, device)


@lru_cache(maxsize=256)
def probe(
    shape: tuple[int, ...],
    options: tuple[Any, ...],
    adds: bool,
    dtype: torch.dtype,
    device: torch.device,
) -> bool:
    """Runs the fused kernel of a weight [O, I / groups, kh, kw] on a small random image beside the
    operators; False where it is missing or differs.
    """
    random = random_source(device, dtype, layout_for(dtype))
    x, weight = random(1, shape[1] * options[-1], *PROBE_SIZE), random(*shape)
    with torch.no_grad(), exact_arithmetic():
        added = random(1, shape[0], *PROBE_SIZE) if adds else None
        tensors = (x, weight, random(shape[0]), added, options)
        expected = plain(*tensors)
        _leave_nan(expected)
        try:
            return not difference(fused(*tensors), expected)
        except RuntimeError:
            return False


def fusion_report(functions: Iterable[object]) -> str:
    """Writes one line on the fused convolutions among a graph's functions."""
    refusals = [f.refused for f in functions if isinstance(f, FusedConvolution)]
    if not refusals:
        return "no fused convolutions"
    running = f"{refusals.count('')} of {len(refusals)} fused convolutions"
    return "; ".join([running, *sorted({*refusals} - {""})])


def _leave_nan(like: Tensor) -> None:
    """Leaves NaN in memory that is about to be handed out: cuDNN's ReLU form adds its own output
    times zero, and must not read it.
    """
    blocks = [torch.full_like(like, float("nan")) for _ in range(NAN_BLOCKS)]
    del blocks
