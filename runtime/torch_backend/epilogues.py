"""Convolutions end in a kernel of ours: bias, sum and activation in one pass over memory.

Conv(x, w, b) -> c, Add(c, y) -> s, Relu(s) -> z becomes ConvEpilogue(x, w, b, y) -> z with slope 0:
cuDNN computes c without the bias, and the kernel writes max(0, c + b + y) in its place. Operators
would read and write the map three times.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from pcsr.runtime.trials.outcome import reason_of

from .graph import Node
from .operators import function_of
from .trial import PROBE_SIZE, TOLERANCE, difference, random_source

DEVICES = frozenset({"cuda"})


@dataclass(frozen=True)
class EpilogueForm:
    """Holds what decides which kernel is compiled."""

    channels: int
    slope: float
    """The slope of negative values: 0 is ReLU, 1 nothing."""
    has_bias: bool
    adds: bool
    dtype: torch.dtype
    layout: torch.memory_format

    @classmethod
    def of(cls, node: Node, weight: Tensor, layout: torch.memory_format) -> "EpilogueForm":
        """Gives the form of a ConvEpilogue or ConvTransposeEpilogue."""
        is_turned = node.op.startswith("ConvTranspose")
        channels = weight.shape[1] * node.attributes.get("group", 1) if is_turned else len(weight)
        slope, has_bias = node.attributes["slope"], bool(node.inputs[2])
        return cls(channels, slope, has_bias, len(node.inputs) > 3, weight.dtype, layout)


class EpilogueConvolution:
    """Runs a ConvEpilogue or ConvTransposeEpilogue of a graph."""

    def __init__(self, node: Node) -> None:
        from pcsr.runtime.kernels.convolutions.epilogue import epilogue

        self._convolve = function_of(replace(node, op=node.op.removesuffix("Epilogue")))
        self._slope: float = node.attributes["slope"]
        self._epilogue = epilogue

    def __call__(
        self, x: Tensor, weight: Tensor, bias: Tensor | None = None, added: Tensor | None = None
    ) -> Tensor:
        y: Tensor = self._convolve(x, weight, None)
        if added is not None and added.shape != y.shape:
            return activated(_sum(y, bias, added), self._slope)
        if added is not None and added.stride() != y.stride():
            added = torch.empty_like(y).copy_(added)
        return self._epilogue(y, bias, added, self._slope)


class Epilogues:
    """Says where a device has the kernel; `refused` collects the reasons where it has not."""

    def __init__(self, device: torch.device, layout: torch.memory_format) -> None:
        self._device, self._layout = device, layout
        self.refused: set[str] = set()

    def may_fuse(self, node: Node, weight: Tensor) -> bool:
        """Says whether a ConvEpilogue or ConvTransposeEpilogue computes what the operators do."""
        if self._device.type not in DEVICES or weight.dtype not in TOLERANCE:
            return False
        reason = probe(EpilogueForm.of(node, weight, self._layout), self._device)
        self.refused |= {reason} - {""}
        return not reason

    def report(self, functions: Iterable[object]) -> list[str]:
        """Says how many there are among a graph's functions, and what was refused."""
        count = sum(isinstance(function, EpilogueConvolution) for function in functions)
        counted = [f"{count} epilogues"] if count or self.refused else []
        return [*counted, *sorted(self.refused)]


@lru_cache(maxsize=256)
def probe(form: EpilogueForm, device: torch.device) -> str:
    """Compiles the kernel and runs it on a small random image beside the operators: says why it
    cannot be used, or "".
    """
    random = random_source(device, form.dtype, form.layout)
    shape = (2, form.channels, *PROBE_SIZE)
    y, bias = random(*shape), random(form.channels) if form.has_bias else None
    added = random(*shape) if form.adds else None
    expected = activated(_sum(y.float(), bias, added), form.slope)
    try:
        from pcsr.runtime.kernels.convolutions.epilogue import epilogue

        with torch.cuda.device_of(y):  # type: ignore[no-untyped-call]
            found = epilogue(y, bias, added, form.slope)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever Triton and the compilers below it raise
        return f"no epilogue kernel: {reason_of(error)}"
    is_wrong = difference(found, expected.to(form.dtype))
    return f"the epilogue kernel is wrong on {device} for {form}" if is_wrong else ""


def activated(values: Tensor, slope: float) -> Tensor:
    """Applies ReLU (slope 0), LeakyReLU, or nothing (1)."""
    if slope == 0:
        return torch.relu(values)
    return values if slope == 1 else F.leaky_relu(values, slope)


def _sum(y: Tensor, bias: Tensor | None, added: Tensor | None) -> Tensor:
    out = y if bias is None else y + bias[:, None, None]
    return out if added is None else out + added
