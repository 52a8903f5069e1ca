"""Defines the networks in PyTorch, as readably as can be: backbones, LIIF upsamplers and PCSR."""

from .carn import CARN
from .edsr import EDSR
from .extended import Extended
from .fsrcnn import FSRCNN
from .imdn import IMDN
from .pcsr import PCSR, Prediction
from .plain import PlainNetwork
from .rdn import RDN
from .registry import make_backbone, register_backbone
from .srresnet import SRResNet

__all__ = [
    "CARN",
    "EDSR",
    "Extended",
    "FSRCNN",
    "IMDN",
    "PCSR",
    "RDN",
    "PlainNetwork",
    "Prediction",
    "SRResNet",
    "make_backbone",
    "register_backbone",
]
