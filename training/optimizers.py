"""Makes the optimisers that a config can name."""

from collections.abc import Callable

from pytorch_optimizer import SOAP
from torch import nn
from torch.optim import Adam, Optimizer

from .config import Config

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {"adam": Adam, "soap": SOAP}


def make_optimizer(config: Config, network: nn.Module) -> Optimizer:
    """Makes the optimiser of one training stage, over the weights that the stage trains.

    adam: the published one. soap (Vyas et al., ICLR 2025, arXiv 2409.11321): Adam in the eigenbasis
    of Shampoo's preconditioner.
    """
    return OPTIMIZERS[config.optimizer](
        [weight for weight in network.parameters() if weight.requires_grad],
        lr=config.learning_rate,
        betas=config.betas,
        weight_decay=config.weight_decay,
    )
