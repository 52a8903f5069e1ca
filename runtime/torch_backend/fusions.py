"""cuDNN's convolutions with sum and ReLU at the end, used where a probe finds them right and no
slower than a convolution with our epilogue.
"""

from collections.abc import Iterable
from functools import lru_cache, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pcsr.runtime.trials.outcome import reason_of

from . import epilogues
from .arithmetic import exact_arithmetic
from .capture import free_cached_memory
from .graph import Node
from .operators import convolution_options
from .trial import (
    PROBE_SIZE,
    TIMED_SIZE,
    device_ms,
    difference,
    layout_for,
    random_source,
)

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
    """Says whether cuDNN has this kernel on this device, it computes what the operators do, and it
    is no slower than they are with our epilogue.
    """
    pads = convolution_options(conv)[2]
    if device.type != "cuda" or pads[:2] != pads[2:]:
        return False
    form = tuple(weight.shape), options_of(conv), adds, weight.dtype, device
    return probe(*form) and pays(*form)


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


@lru_cache(maxsize=256)
def pays(
    shape: tuple[int, ...],
    options: tuple[Any, ...],
    adds: bool,
    dtype: torch.dtype,
    device: torch.device,
) -> bool:
    """Times the fused kernel beside what runs without it, on maps of TIMED_SIZE. Where these find
    no memory, a kernel that is right is taken; where cuDNN refuses them, it is not.
    """
    layout = layout_for(dtype)
    random = random_source(device, dtype, layout)
    try:
        x, weight = random(1, shape[1] * options[-1], *TIMED_SIZE), random(*shape)
        on_device = torch.cuda.device_of(x)  # type: ignore[no-untyped-call]
        with torch.no_grad(), exact_arithmetic(), on_device:
            size = F.conv2d(x, weight, None, *options).shape
            tensors = (x, weight, random(shape[0]), random(*size) if adds else None, options)
            form = epilogues.EpilogueForm(shape[0], 0.0, True, adds, dtype, layout)
            separate = _with_epilogue if not epilogues.probe(form, device) else plain
            return device_ms(partial(fused, *tensors)) <= device_ms(partial(separate, *tensors))
    except torch.OutOfMemoryError:
        return True
    except RuntimeError:
        return False
    finally:
        if device.type == "cuda":
            free_cached_memory()


def _with_epilogue(
    x: Tensor, weight: Tensor, bias: Tensor | None, added: Tensor | None, options: tuple[Any, ...]
) -> Tensor:
    from pcsr.runtime.kernels.convolutions.epilogue import RELU, epilogue

    return epilogue(F.conv2d(x, weight, None, *options), bias, added, RELU)


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
