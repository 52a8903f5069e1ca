"""Weights of another network as the start of stage 0."""

from torch import nn

from pcsr.errors import CheckpointError
from pcsr.models.checkpoint import Checkpoint


def load_part(part: nn.Module, checkpoint: Checkpoint, prefix: str = "") -> None:
    """Loads every weight of a module from those of a checkpoint whose names begin with `prefix`.

    Raises:
        CheckpointError: a weight is missing there or has another shape; names it.
    """
    taken = {}
    for name, weight in part.state_dict().items():
        found = checkpoint.weights.get(f"{prefix}{name}")
        if found is None or found.shape != weight.shape:
            shape = "nothing" if found is None else list(found.shape)
            raise CheckpointError(
                f"{checkpoint.path} does not hold this network: {prefix}{name} should be "
                f"{list(weight.shape)}, found {shape}"
            )
        taken[name] = found
    part.load_state_dict(taken)
