"""Random networks in the forms in which others save their weights."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from pcsr.models import PCSR, make_backbone
from pcsr.models.liif import UpsamplerSpec
from tests.checkpoints import UPSAMPLERS, shake_batch_norm

State = dict[str, Tensor]
DIV2K = (0.4488, 0.4371, 0.4040)
BYTE = (1 / 255,) * 3
HALF, ZERO, ONE = (0.5,) * 3, (0.0,) * 3, (1.0,) * 3


@dataclass(frozen=True)
class Case:
    """Weights as they are saved, and the network that they are."""

    saved: State
    own: State
    """Named as the network that is built."""
    mean: tuple[float, ...]
    std: tuple[float, ...]


def plain(
    name: str,
    args: dict[str, Any],
    save: Callable[[State], State] = dict,
    mean: tuple[float, ...] = ZERO,
    std: tuple[float, ...] = ONE,
) -> Case:
    torch.manual_seed(0)
    network = make_backbone(name, args)
    shake_batch_norm(network)
    state = dict(network.state_dict())
    return Case(save(state), state, mean, std)


def shifted(bound: float) -> Callable[[State], State]:
    """Adds the layers that the authors' EDSR begins and ends with."""
    mean = torch.tensor(DIV2K)
    layers = {
        f"{name}.{kind}": value
        for name, sign in (("sub_mean", -1), ("add_mean", 1))
        for kind, value in (
            ("weight", torch.eye(3).view(3, 3, 1, 1)),
            ("bias", sign * bound * mean),
        )
    }
    return lambda state: {**layers, **state}


def as_basicsr_edsr(state: State) -> State:
    """Names EDSR as BasicSR does."""
    rules = {
        r"head\.0\.": "conv_first.",
        r"body\.(\d+)\.body\.0\.": r"body.\1.conv1.",
        r"body\.(\d+)\.body\.2\.": r"body.\1.conv2.",
        r"body\.\d+\.(?=\w+$)": "conv_after_body.",
        r"tail\.0\.": "upsample.",
        r"tail\.1\.": "conv_last.",
    }
    return {_renamed(name, rules): weight for name, weight in state.items()}


def as_basicsr_srresnet(state: State) -> State:
    """Names SRResNet as BasicSR does."""
    rules = {r"recon_trunk\.": "body.", r"HRconv\.": "conv_hr."}
    return {_renamed(name, rules): weight for name, weight in state.items()}


def _renamed(name: str, rules: dict[str, str]) -> str:
    for pattern, new in rules.items():
        if re.match(pattern, name):
            return re.sub(rf"\A{pattern}", new, name)
    return name


def liif(encoder: str, args: dict[str, Any], spec: UpsamplerSpec) -> Case:
    torch.manual_seed(0)
    backbone = make_backbone(encoder, {**args, "no_upsampling": True})
    network = PCSR(backbone, [spec], None)
    own = dict(network.state_dict())
    saved = {name.replace("heavy_sampler.imnet", "imnet"): weight for name, weight in own.items()}
    extra = {f"encoder.{name}": weight for name, weight in shifted(1)({}).items()}
    return Case({**extra, **saved}, own, HALF, HALF)


def implicit(unfold: bool, cell: bool) -> UpsamplerSpec:
    return UpsamplerSpec((12, 8), neighbours=4, base="none", unfold=unfold, cell=cell)


def pcsr(backbone: str, args: dict[str, Any], count: int, mean: tuple[float, ...] = ZERO) -> Case:
    torch.manual_seed(0)
    specs = [UpsamplerSpec(widths) for widths in UPSAMPLERS[:count]]
    encoder = make_backbone(backbone, {**args, "no_upsampling": True})
    shake_batch_norm(encoder)
    state = dict(PCSR(encoder, specs, (6,) if count > 1 else None).state_dict())
    return Case(state, state, mean, HALF if mean == HALF else ONE)


EDSR = {"n_resblocks": 2, "n_feats": 8}
WIDE = {"n_resblocks": 1, "n_feats": 256}
SRRESNET = {"nf": 8, "nb": 2}
TAILS = (2, 3, 4)
CASES: dict[str, Callable[[], Case]] = {
    "edsr x8": partial(plain, "edsr-baseline", {**EDSR, "scale": 8}, shifted(255), DIV2K, BYTE),
    "edsr, range 1": partial(plain, "edsr-baseline", EDSR, shifted(1), DIV2K, ONE),
    "edsr without shifts": partial(plain, "edsr-baseline", EDSR, dict, DIV2K, BYTE),
    "edsr wide": partial(plain, "edsr", WIDE, shifted(255), DIV2K, BYTE),
    "carn x8": partial(plain, "carn", {"nf": 8, "scale": 8}, dict, DIV2K),
    "carn in two groups": partial(plain, "carn", {"nf": 12, "group": 2}, dict, DIV2K),
    "imdn": partial(plain, "imdn", {"nf": 24, "nb": 2, "scale": 3}),
    "imdn collapsed": partial(plain, "imdn", {"nf": 24, "nb": 1, "collapsed": True, "scale": 2}),
    "liif": partial(liif, "edsr-baseline", EDSR, implicit(True, True)),
    "liif without cell": partial(liif, "edsr-baseline", EDSR, implicit(True, False)),
    "liif without unfolding": partial(liif, "edsr-baseline", EDSR, implicit(False, True)),
    "liif without both": partial(liif, "edsr-baseline", EDSR, implicit(False, False)),
    "liif of edsr": partial(liif, "edsr", WIDE, implicit(True, True)),
    "liif of rdn": partial(liif, "rdn", {"G0": 4, "RDNconfig": "A"}, implicit(True, True)),
    "pcsr of carn": partial(pcsr, "carn", {"nf": 8}, 2, DIV2K),
    "pcsr of fsrcnn": partial(pcsr, "fsrcnn", {"d": 8, "s": 4, "m": 2}, 3),
    "pcsr of srresnet": partial(pcsr, "srresnet", SRRESNET, 1),
    "pcsr of imdn": partial(pcsr, "imdn", {"nf": 24, "nb": 1}, 2),
    "pcsr of edsr": partial(pcsr, "edsr-baseline", EDSR, 2, HALF),
}
for x in TAILS:
    edsr, srresnet = {**EDSR, "scale": x}, {**SRRESNET, "upscale": x}
    CASES |= {
        f"edsr x{x}": partial(plain, "edsr-baseline", edsr, shifted(255), DIV2K, BYTE),
        f"basicsr edsr x{x}": partial(plain, "edsr-baseline", edsr, as_basicsr_edsr, DIV2K, BYTE),
        f"srresnet x{x}": partial(plain, "srresnet", srresnet),
        f"basicsr srresnet x{x}": partial(plain, "srresnet", srresnet, as_basicsr_srresnet),
        f"carn x{x}": partial(plain, "carn", {"nf": 8, "scale": x}, dict, DIV2K),
    }
