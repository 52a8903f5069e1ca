"""Recognises the network of a file that holds weights without a description."""

import logging
from pathlib import Path
from typing import Any

from pcsr.errors import CheckpointError
from pcsr.models.values import shown
from pcsr.models.weights import check_weights
from pcsr.text import one_line

from .content import Part, find_weights
from .hints import found_weights
from .network import Recognised
from .recognisers import recognised
from .spandrel_networks import HOW_TO_INSTALL, is_installed

ACCEPTED = (
    "model: {name, args, sd}, or weights alone of a network that spandrel knows (SPAN, ESRGAN, …), "
    "LIIF, PCSR, EDSR, MSRResNet (SRResNet), CARN or IMDN"
)
SEE = "docs/training.md lists what is accepted and how to add a description"
WRAPPED = {
    "pytorch-lightning_version": "a checkpoint of Lightning",
    "state_dict": "a training checkpoint with a state_dict",
    "params_ema": "weights in the form of BasicSR (params_ema)",
    "params": "weights in the form of BasicSR (params)",
    "model_state_dict": "a training checkpoint with a model_state_dict",
}
LOG = logging.getLogger("pcsr.checkpoint")


def recognised_file(path: Path, kind: str, content: Any, size: int) -> Recognised:  # noqa: ANN401
    """Recognises the weights in a file that describes no network; says in the log what it took them
    for. kind: of the file, for messages; content: as loaded; size: of the file, in bytes.

    Raises:
        CheckpointError: no weights or several sets, not ordinary ones, or of an unknown network.
    """
    parts = find_weights(content)
    if len(parts) == 1:
        found = recognised(check_weights(path, parts[0].value, size))
        if found is not None:
            norm = [] if found.data_norm else ["RGB normalised as published"]
            assumed = [*found.assumed, *norm]
            more = f"; assumed: {', '.join(assumed)}" if assumed else ""
            LOG.warning("%s describes no network; recognised: %s%s", path, found.name, more)
            return found
    missing = "" if is_installed() else f"; for networks that spandrel knows {HOW_TO_INSTALL}"
    raise CheckpointError(
        f"{path} does not describe its network: expected {ACCEPTED}; found {kind}, "
        f"{_found(content, parts)}; {SEE}{missing}"
    )


def _found(content: Any, parts: list[Part]) -> str:  # noqa: ANN401
    """Says what a file holds in place of a description."""
    if not isinstance(content, dict):
        return shown(content)
    if len(parts) == 1:
        place = f" under {parts[0].place}" if parts[0].path else ""
        return f"{found_weights(parts[0].value)}{place}"
    if parts:
        places = ", ".join(part.place for part in parts[:4])
        return f"{len(parts)} sets of weights ({places}), of which one is expected"
    for key, what in WRAPPED.items():
        if key in content:
            return f"{what} that holds no weights"
    model = content.get("model")
    content, what = (model, "model") if isinstance(model, dict) else (content, "dict")
    keys = [one_line(key[:40]) if isinstance(key, str) else shown(key) for key in list(content)[:4]]
    return f"a {what} of {', '.join(keys) or 'nothing'}"
