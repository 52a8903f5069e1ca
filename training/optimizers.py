"""Makes optimisers by their names in a config."""

from collections.abc import Callable
from typing import Any

from pytorch_optimizer import SOAP, Muon
from torch import nn
from torch.optim import Adam, Optimizer

ADAM_SHARE = 0.2  # of Muon's learning rate, for what is no hidden matrix


def _on_all(optimizer: Callable[..., Optimizer]) -> Callable[..., Optimizer]:
    def make(network: nn.Module, **settings: Any) -> Optimizer:  # noqa: ANN401
        return optimizer([w for w in network.parameters() if w.requires_grad], **settings)

    return make


def muon(
    network: nn.Module, lr: float, betas: tuple[float, float], weight_decay: float
) -> Optimizer:
    """Makes Muon of the kernels of convolutions and the weights between hidden layers; biases and
    what gives colours or features of the image (3 rows or columns) are for Adam, at a fifth of the
    learning rate. `share` in a group is its part of the learning rate.
    """
    trained = [weight for weight in network.parameters() if weight.requires_grad]
    matrices = [weight for weight in trained if weight.ndim > 1 and min(weight.shape[:2]) > 3]
    rest = [weight for weight in trained if not any(weight is matrix for matrix in matrices)]
    group = {"weight_decay": weight_decay}
    groups = [
        {**group, "params": matrices, "use_muon": True, "lr": lr, "share": 1.0},
        {
            **group,
            "params": rest,
            "use_muon": False,
            "lr": lr * ADAM_SHARE,
            "share": ADAM_SHARE,
            "betas": betas,
        },
    ]
    return Muon([g for g in groups if g["params"]], use_adjusted_lr=True)


OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "adam": _on_all(Adam),
    "soap": _on_all(SOAP),
    "muon": muon,
}
"""`adam` is the published one. `soap` (Vyas et al., ICLR 2025, arXiv 2409.11321) is Adam in the
eigenbasis of Shampoo's preconditioner, `muon` (K. Jordan, 2024; arXiv 2502.16982) steps by the
momentum made orthogonal."""
