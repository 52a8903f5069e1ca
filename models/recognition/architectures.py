"""Describes the networks of `models/` by the names and shapes of their weights."""

from collections.abc import Callable, Mapping
from typing import Any

import torch

from pcsr.errors import CheckpointError
from pcsr.models.backbones.rdn import CONFIGS
from pcsr.models.registry import make_backbone
from pcsr.models.weights import SizeLimit, no_larger_than

from .names import State, count

Args = dict[str, Any]
Described = tuple[str, Args]
WIDE = 256  # features of the large EDSR, which scales its residuals
MOST_STAGES = 6
WIDE_RES_SCALE = 0.1


def architecture(state: State) -> Described | None:
    """Names the backbone or plain network that has just these weights, of these shapes, and its
    arguments; None where there is none. What shapes do not tell (the scale of FSRCNN, the scale of
    EDSR's residuals) is as published.
    """
    for name, read in READERS.items():
        try:
            args = read(state)
        except (KeyError, IndexError, ValueError, ZeroDivisionError):
            continue
        if fits(name, args, state):
            wide = name == "edsr-baseline" and args["n_feats"] == WIDE
            return ("edsr" if wide else name), args
    return None


def fits(name: str, args: Mapping[str, Any], state: State) -> bool:
    """Says whether a network has just these weights, of these shapes. It takes no memory."""
    try:
        with torch.device("meta"), no_larger_than(SizeLimit.of_weights(state)):
            network = make_backbone(name, args)
    except CheckpointError:
        return False
    expected = {name: weight.shape for name, weight in network.state_dict().items()}
    return expected == {name: weight.shape for name, weight in state.items()}


def _edsr(state: State) -> Args:
    width = _outputs(state, "head.0.weight")
    args = {
        "n_resblocks": count(state, r"body\.(\d+)\.body\.0\.weight"),
        "n_feats": width,
        "res_scale": WIDE_RES_SCALE if width == WIDE else 1,
    }
    return {**args, **_scaled(state, "scale", r"tail\.0\.(\d+)\.weight", "tail.0.0.weight", width)}


def _rdn(state: State) -> Args:
    blocks = count(state, r"RDBs\.(\d+)\.LFF\.weight")
    layers = count(state, r"RDBs\.0\.convs\.(\d+)\.conv\.0\.weight")
    shape = (blocks, layers, _outputs(state, "RDBs.0.convs.0.conv.0.weight"))
    width, _, size, _ = state["SFENet1.weight"].shape
    if any(name.startswith("UPNet") for name in state):
        raise ValueError("with a tail, its normalisation is not known")
    (config,) = (name for name, known in CONFIGS.items() if known == shape)
    return {"G0": width, "RDNkSize": size, "RDNconfig": config, "no_upsampling": True}


def _carn(state: State) -> Args:
    width, tail = _outputs(state, "entry.weight"), "upsample.up.body.0.weight"
    args = {"nf": width, "group": width // state["b1.b1.body.0.weight"].shape[1]}
    return {**args, **_scaled(state, "scale", r"upsample\.up\.body\.(\d+)\.weight", tail, width)}


def _srresnet(state: State) -> Args:
    width = _outputs(state, "conv_first.weight")
    args = {"nf": width, "nb": count(state, r"recon_trunk\.(\d+)\.conv1\.weight")}
    return {**args, **_scaled(state, "upscale", r"upconv(\d)\.weight", "upconv1.weight", width)}


def _imdn(state: State) -> Args:
    collapsed = "head.weight" in state
    last = "weight" if collapsed else "wide.weight"
    args = {
        "nf": _outputs(state, f"head.{last}"),
        "nb": count(state, r"blocks\.(\d+)\.fuse\.weight"),
        "collapsed": collapsed,
    }
    if f"tail.{last}" not in state:
        return {**args, "no_upsampling": True}
    return {**args, "scale": round((_outputs(state, f"tail.{last}") / 3) ** 0.5)}


def _fsrcnn(state: State) -> Args:
    if "tail_conv.weight" in state:
        raise ValueError("the kernel of its deconvolution is the same at every scale")
    shrunk = _outputs(state, "body_conv.0.0.weight")
    args = {"d": _outputs(state, "head_conv.0.weight"), "s": shrunk}
    mapped = count(state, r"body_conv\.(\d+)\.bias")
    return {**args, "m": mapped, "no_upsampling": True}


def _scaled(state: State, key: str, pattern: str, first: str, width: int) -> Args:
    """Returns the argument that says the scale of pixel shuffles, or that there are none."""
    if first not in state:
        return {"no_upsampling": True}
    stages = count(state, pattern)
    if stages > MOST_STAGES:
        raise ValueError("more than any scale")
    return {key: round((_outputs(state, first) / width) ** 0.5) ** stages}


def _outputs(state: State, name: str) -> int:
    return int(state[name].shape[0])


READERS: Mapping[str, Callable[[State], Args]] = {
    "edsr-baseline": _edsr,
    "rdn": _rdn,
    "carn": _carn,
    "srresnet": _srresnet,
    "imdn": _imdn,
    "fsrcnn": _fsrcnn,
}
