"""Recognises networks with a tail of their own."""

from dataclasses import replace

import torch

from .architectures import architecture
from .names import State, count, renamed
from .network import Recognised

DIV2K_MEAN = (0.4488, 0.4371, 0.4040)
BYTE_RANGE = 255.0
OF_HALF = 2e-3  # what bfloat16 makes of a mean
SHIFTS = ("sub_mean.", "add_mean.")
BASICSR_EDSR = {
    r"conv_first\.": "head.0.",
    r"body\.(\d+)\.conv1\.": r"body.\1.body.0.",
    r"body\.(\d+)\.conv2\.": r"body.\1.body.2.",
    r"upsample\.(\d+)\.": r"tail.0.\1.",
    r"conv_last\.": "tail.1.",
}
BASICSR_SRRESNET = {r"body\.(\d+)\.": r"recon_trunk.\1.", r"conv_hr\.": "HRconv."}


def plain(state: State) -> Recognised | None:
    """Recognises a network of `models/` by its own names."""
    described = architecture(state)
    if described is None or described[1].get("no_upsampling"):
        return None
    name, args = described
    return Recognised(name, args, state)


def edsr(state: State) -> Recognised | None:
    """Recognises EDSR of its authors and of BasicSR. Its image has the mean and the range that
    `sub_mean` subtracts, or those published where there is none.
    """
    own = {name: weight for name, weight in state.items() if not name.startswith(SHIFTS)}
    shifted = len(own) < len(state)
    if "conv_after_body.weight" in own:
        blocks = count(own, r"body\.(\d+)\.conv1\.weight")
        own = renamed(own, {**BASICSR_EDSR, r"conv_after_body\.": f"body.{blocks}."})
    found = plain(own)
    if found is None or found.name not in ("edsr", "edsr-baseline"):
        return None
    norm = _shift(state) if shifted else _norm(DIV2K_MEAN, BYTE_RANGE)
    if norm is None:
        return None
    taken = "sub_mean applied" if shifted else f"RGB of 0 to {BYTE_RANGE:g} less the mean of DIV2K"
    residuals = f"residuals scaled by {found.args['res_scale']:g}"
    return replace(found, data_norm=norm, assumed=[residuals, taken])


def basicsr_srresnet(state: State) -> Recognised | None:
    """Recognises MSRResNet of BasicSR: our SRResNet by other names."""
    return plain(renamed(state, BASICSR_SRRESNET)) if "conv_hr.weight" in state else None


def _shift(state: State) -> dict[str, list[float]] | None:
    """Reads the normalisation that a first layer `sub_mean` computes and a last layer `add_mean`
    undoes: their biases are -range * mean and range * mean. None where they do anything else.
    """
    try:
        first, last = (state[f"{name}weight"].float() for name in SHIFTS)
        mean, back = -state["sub_mean.bias"].float(), state["add_mean.bias"].float()
    except KeyError:
        return None
    identity = torch.eye(3).view(3, 3, 1, 1)
    if not (torch.equal(first, identity) and torch.equal(last, identity)):
        return None
    if mean.shape != (3,) or not torch.equal(mean, back):
        return None
    bound = BYTE_RANGE if float(mean.max()) > 1 else 1.0
    red, green, blue = (mean / bound).tolist()
    if all(abs(a - b) < OF_HALF for a, b in zip((red, green, blue), DIV2K_MEAN, strict=True)):
        return _norm(DIV2K_MEAN, bound)
    return _norm((red, green, blue), bound)


def _norm(mean: tuple[float, float, float], bound: float) -> dict[str, list[float]]:
    return {"mean": [round(value, 6) for value in mean], "std": [1 / bound] * 3}
