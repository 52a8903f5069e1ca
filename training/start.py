"""Another network as the start of stage 0: a PCSR takes over its backbone, a plain network all."""

from pathlib import Path

from torch import nn

from pcsr.errors import CheckpointError
from pcsr.models.checkpoint import read_checkpoint


def initialise(network: nn.Module, path: Path) -> None:
    """Loads every weight of a backbone or plain network from a plain or PCSR checkpoint.

    Raises:
        CheckpointError: a weight is missing there or has another shape; names it.
    """
    weights = read_checkpoint(path).weights
    found = {name.removeprefix("encoder."): weight for name, weight in weights.items()}
    taken = {}
    for name, weight in network.state_dict().items():
        if name not in found or found[name].shape != weight.shape:
            shape = list(found[name].shape) if name in found else "nothing"
            raise CheckpointError(
                f"{path} does not hold this network: {name} should be {list(weight.shape)}, "
                f"found {shape}"
            )
        taken[name] = found[name]
    network.load_state_dict(taken)
