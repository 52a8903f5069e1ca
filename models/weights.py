"""Checks the weights of a checkpoint, and finds those of a network among them."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

from pcsr.errors import CheckpointError

from .values import shown

WRAPPERS = frozenset({"module", "_orig_mod"})  # of DataParallel, and of torch.compile
COUNTERS = frozenset({"total_ops", "total_params", "n_averaged"})  # of thop, and of AveragedModel
UNUSED = frozenset({"sub_mean", "add_mean"})  # in encoders of LIIF, whose code applies neither
FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)
SMALL_BYTES = 2**28
SPARE_ELEMENTS = 2**16
SPARE_FACTOR = 4
SPARE_TENSORS = 1000


def check_weights(path: Path, weights: Any, file_bytes: int) -> Mapping[str, Tensor]:  # noqa: ANN401
    """Returns a state dict of ordinary, finite tensors. All together may not stand for more bytes
    than the file has (or SMALL_BYTES, whichever is more), views of the same bytes counted each.

    Raises:
        CheckpointError: it is none; names the first weight that is not as expected.
    """
    if not isinstance(weights, Mapping) or not all(type(name) is str for name in weights):
        raise CheckpointError(
            f"{path}: expected a state dict of tensors under model/sd, found {shown(weights)}"
        )
    for name, weight in weights.items():
        if not isinstance(weight, Tensor):
            raise CheckpointError(
                f"{path}: expected a state dict of tensors under model/sd, found {shown(weight)} "
                f"as {shown(name)}"
            )
    _check_sizes(path, weights, file_bytes)
    for name, weight in weights.items():
        _check_finite(path, name, weight)
    return {name: weight.detach() for name, weight in weights.items()}


def check_state(path: Path, state: Any, file_bytes: int) -> None:  # noqa: ANN401
    """Checks the tensors within the state of an optimizer as `check_weights` does, but for their
    values.

    Raises:
        CheckpointError: one is no ordinary tensor, or they stand for more bytes than the file has.
    """
    left, seen = [("optimizer", state)], set()
    found: dict[str, Tensor] = {}
    while left:
        name, value = left.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, Tensor):
            found[f"{name} ({len(found)})"] = value
        elif isinstance(value, dict):
            left += [(shown(key), item) for key, item in value.items()]
        elif isinstance(value, list | tuple):
            left += [(name, item) for item in value]
    _check_sizes(path, found, file_bytes)


def _check_sizes(path: Path, tensors: Mapping[str, Tensor], file_bytes: int) -> None:
    for name, tensor in tensors.items():
        _check_form(path, name, tensor)
    total = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    if total > max(file_bytes, SMALL_BYTES):
        raise CheckpointError(
            f"{path}: its weights stand for {total:,} bytes, but the file has {file_bytes:,}; "
            "save copies instead of views"
        )


def _check_form(path: Path, name: str, weight: Tensor) -> None:
    kinds = {
        "on the meta device, without values": weight.is_meta,
        "nested": weight.is_nested,
        "sparse": weight.layout != torch.strided,
        "quantised": weight.is_quantized,
        "complex": weight.is_complex(),
    }
    found = [kind for kind, holds in kinds.items() if holds]
    if not found and weight.dtype not in FLOATS + INTEGERS:
        found = [f"of {str(weight.dtype).removeprefix('torch.')}"]
    if found:
        raise CheckpointError(
            f"{path}: {shown(name)} is {found[0]}, which is not an ordinary tensor of real "
            "numbers; save float32"
        )
    if weight.numel() * weight.element_size() > weight.untyped_storage().nbytes():
        raise CheckpointError(
            f"{path}: {shown(name)} repeats few values as {weight.numel():,} (strides "
            f"{list(weight.stride())[:8]}); save it as a copy (.contiguous())"
        )


def _check_finite(path: Path, name: str, weight: Tensor) -> None:
    if weight.dtype not in FLOATS:
        return
    finite = torch.isfinite(weight.float())  # as it will be computed with
    if not bool(finite.all()):
        count = int((~finite).sum())
        raise CheckpointError(
            f"{path}: {shown(name)[1:-1]} holds {count} NaN or infinite values (or beyond "
            "float32); the training diverged"
        )


def fitted(path: Path, found: Mapping[str, Tensor], names: Collection[str]) -> dict[str, Tensor]:
    """Names the weights as a network does: without what DataParallel and torch.compile put before
    and between the parts of a name, and without the counters of profilers. names: of the network.
    Weights that it does not have keep theirs.

    Raises:
        CheckpointError: two weights have one name.
    """
    known = {unwrapped(name): name for name in names}
    result: dict[str, Tensor] = {}
    for name, weight in found.items():
        own = name if name in names else known.get(unwrapped(name), name)
        if own not in names and _is_leftover(name):
            continue
        if own in result:
            raise CheckpointError(f"{path} holds {shown(own)} twice, with and without a wrapper")
        result[own] = weight
    return result


def _is_leftover(name: str) -> bool:
    parts = name.split(".")
    return parts[-1] in COUNTERS or not UNUSED.isdisjoint(parts[-2:-1])


def unwrapped(name: str) -> str:
    """Returns the name of a weight without what DataParallel and torch.compile put into it."""
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


@dataclass(frozen=True)
class SizeLimit:
    """Says how large a network that is described may be."""

    elements: int
    """Of all its parameters and buffers."""
    tensors: int
    reason: str
    """Why: what follows "is far larger than"."""

    @classmethod
    def of_weights(cls, weights: Mapping[str, Tensor]) -> "SizeLimit":
        """Allows what could belong to these weights, with much to spare for parts that a network
        makes and drops.
        """
        given = sum(weight.numel() for weight in weights.values())
        return cls(
            SPARE_FACTOR * given + SPARE_ELEMENTS,
            SPARE_FACTOR * len(weights) + SPARE_TENSORS,
            f"its weights ({len(weights)} tensors, {given:,} numbers)",
        )

    def check_widths(self, widths: Collection[int]) -> None:
        """Raises CheckpointError where a layer alone is too wide: each unit has a bias."""
        if max(widths, default=0) > self.elements:
            raise CheckpointError(
                f"hidden_list has the width {max(widths)}: the network that it describes is far "
                f"larger than {self.reason}"
            )


@contextmanager
def no_larger_than(limit: SizeLimit) -> Iterator[None]:
    """Refuses, while the body builds it, a network beyond the limit: before the tensors that exceed
    it are filled, so that a description of 10^9 blocks or channels takes neither time nor memory.

    Raises:
        CheckpointError: it is larger.
    """
    kept: dict[int, Tensor] = {}
    elements = 0

    def count(_module: nn.Module, _name: str, weight: Tensor | None) -> None:
        nonlocal elements
        if weight is None or id(weight) in kept:
            return
        kept[id(weight)] = weight
        elements += weight.numel()
        if elements > limit.elements or len(kept) > limit.tensors:
            raise CheckpointError(
                f"the network that it describes is far larger than {limit.reason}"
            )

    handles = [
        torch_module.register_module_parameter_registration_hook(count),
        torch_module.register_module_buffer_registration_hook(count),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
