"""Counts a plain network as the NTIRE 2022 challenge on efficient super-resolution does.

FLOPs are the multiply-adds of convolutions, each counted once and biases not, plus one per element
that an activation layer makes (ReLU, LeakyReLU, PReLU, ELU, ReLU6), plus two per element of a
BatchNorm (one without weights). A transposed convolution is charged at its output size.
Activations are the elements that all convolutions make. Nothing counts for other functions
(sigmoid, SiLU, GELU, softmax, LayerNorm), pooling, resizing, pixel shuffles, sums and
concatenations.

Source: `utils/model_summary.py` of the challenge, whose hooks see modules. Here the operators of
PyTorch are seen, functional ones too, as far as they depend on the image. Products of matrices
count their multiply-adds, in linear layers and in attention: the challenge leaves those of
attention out, and reads the channels of a linear layer on [B, tokens, channels] from a wrong axis.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pcsr.errors import VerificationError
from pcsr.export.description import count_parameters
from pcsr.models import PlainNetwork
from pcsr.models.backbones.imdn import collapse
from pcsr.text import shortened

SIZE = (256, 256)
"""Height and width of the challenge's input."""
aten = torch.ops.aten


@dataclass(frozen=True)
class Counts:
    """Holds what the challenge counts of a network."""

    parameters: int
    flops: int
    """On an input of SIZE."""
    activations: int
    """Elements of the results of all convolutions, on the same input."""
    convolutions: int
    """How many are run: one that is run three times counts three times."""


def count_network(network: PlainNetwork, size: tuple[int, int] = SIZE) -> Counts:
    """Counts a network on one image of `size` (height, width), in the single-branch form of
    collapsible convolutions, the one that is deployed. Nothing is computed.

    Raises:
        VerificationError: it needs values to know its own shapes.
    """
    single = collapse(network)
    parameters = count_parameters(network)
    image = torch.empty(1, 3, *size, device="meta")
    counter = _Counter(image)
    try:
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
            single.to("meta")(image)
    except RuntimeError as error:
        reason = shortened(str(error), 120)
        raise VerificationError(
            f"the work of the network cannot be counted without computing it ({reason})"
        ) from error
    return Counts(parameters, counter.flops, sum(counter.outputs), len(counter.outputs))


def _product(args: Sequence[Any], out: Tensor) -> int:
    """Of [.., n, k] and [.., k, m], the last two arguments."""
    return int(out.numel() * args[-1].shape[-2])


def _convolution(args: Sequence[Any], out: Tensor) -> int:
    return int(args[1].numel() * out.numel() // out.shape[1])


def _batch_norm(args: Sequence[Any], out: Sequence[Tensor]) -> int:
    return out[0].numel() * (1 if args[1] is None else 2)


def _activation(args: Sequence[Any], out: Tensor) -> int:
    return out.numel()


IN_PLACE_TOO = ("relu", "leaky_relu", "elu", "hardtanh")
ACTIVATIONS = (*IN_PLACE_TOO, *(f"{name}_" for name in IN_PLACE_TOO), "_prelu_kernel")
PRODUCTS = ("mm", "bmm", "addmm", "baddbmm")
FLOPS: Mapping[Any, Callable[[Sequence[Any], Any], int]] = {
    aten.convolution: _convolution,
    aten.native_batch_norm: _batch_norm,
    **{getattr(aten, name): _product for name in PRODUCTS},
    **{getattr(aten, name): _activation for name in ACTIVATIONS},
}
"""Operator -> (its arguments, its result) -> FLOPs."""


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up what operators count that depend on an image: some networks join their weights
    whenever they run, by convolutions.
    """

    def __init__(self, image: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = 0
        self.outputs: list[int] = []
        """Elements of the result of each two-dimensional convolution."""
        self._of_image = {id(image): image}  # kept, so that no other tensor takes its number

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401
        types: Any,  # noqa: ANN401
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        out = func(*args, **(kwargs or {}))
        if any(id(value) in self._of_image for value in _tensors((args, kwargs))):
            self._of_image |= {id(value): value for value in _tensors(out)}
            self._count(func.overloadpacket, args, out)
        return out

    def _count(self, operator: Any, args: Sequence[Any], out: Any) -> None:  # noqa: ANN401
        if operator is aten.convolution:
            if out.dim() != 4:  # the challenge sees two-dimensional ones alone
                return
            self.outputs.append(out.numel())
        if operator in FLOPS:
            self.flops += FLOPS[operator](args, out)


def _tensors(tree: Any) -> Iterator[Tensor]:  # noqa: ANN401
    return (value for value in tree_leaves(tree) if isinstance(value, Tensor))
