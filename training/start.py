"""A plain network as the start of stage 0: its backbone's weights are taken over."""

from pathlib import Path

from torch import nn

from pcsr.errors import CheckpointError
from pcsr.models.checkpoint import read_checkpoint


def initialise_backbone(backbone: nn.Module, path: Path) -> None:
    """Loads every weight of the backbone from a plain or PCSR checkpoint.

    Raises:
        CheckpointError: a weight is missing there or has another shape; names it.
    """
    weights = read_checkpoint(path).weights
    found = {name.removeprefix("encoder."): weight for name, weight in weights.items()}
    taken = {}
    for name, weight in backbone.state_dict().items():
        if name not in found or found[name].shape != weight.shape:
            shape = list(found[name].shape) if name in found else "nothing"
            raise CheckpointError(
                f"{path} does not hold this backbone: {name} should be {list(weight.shape)}, "
                f"found {shape}"
            )
        taken[name] = found[name]
    backbone.load_state_dict(taken)
