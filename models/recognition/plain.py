"""Recognises networks with a tail of their own."""

from dataclasses import replace

from .architectures import architecture
from .names import State, count, renamed
from .network import Recognised

DIV2K_MEAN = (0.4488, 0.4371, 0.4040)
BYTE_RANGE = 255.0
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
    if "conv_after_body.weight" in own:
        blocks = count(own, r"body\.(\d+)\.conv1\.weight")
        own = renamed(own, {**BASICSR_EDSR, r"conv_after_body\.": f"body.{blocks}."})
    found = plain(own)
    if found is None or found.name not in ("edsr", "edsr-baseline"):
        return None
    assumed = [f"residuals scaled by {found.args['res_scale']:g}"]
    norm = _shift(state)
    if norm is None:
        norm = _norm(DIV2K_MEAN, BYTE_RANGE)
        assumed.append(f"RGB from 0 to {BYTE_RANGE:g} less the mean of DIV2K")
    return replace(found, data_norm=norm, assumed=assumed)


def basicsr_srresnet(state: State) -> Recognised | None:
    """Recognises MSRResNet of BasicSR: our SRResNet by other names."""
    return plain(renamed(state, BASICSR_SRRESNET)) if "conv_hr.weight" in state else None


def _shift(state: State) -> dict[str, list[float]] | None:
    """Reads the normalisation that a first layer `sub_mean` computes: its bias is -range * mean."""
    bias = state.get("sub_mean.bias")
    if bias is None or bias.shape != (3,):
        return None
    red, green, blue = (-float(value) for value in bias)
    bound = BYTE_RANGE if max(red, green, blue) > 1 else 1.0
    return _norm((red / bound, green / bound, blue / bound), bound)


def _norm(mean: tuple[float, float, float], bound: float) -> dict[str, list[float]]:
    return {"mean": [round(value, 6) for value in mean], "std": [1 / bound] * 3}
