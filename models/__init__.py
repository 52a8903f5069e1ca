"""Defines the networks in PyTorch, as readably as can be: backbones, LIIF upsamplers and PCSR."""

from .backbones import CARN, EDSR, FSRCNN, IMDN, RDN, Extended, SRResNet
from .pcsr import PCSR, Prediction
from .plain import PlainNetwork
from .registry import make_backbone, register_backbone

__all__ = [
    "CARN",
    "EDSR",
    "FSRCNN",
    "IMDN",
    "PCSR",
    "RDN",
    "Extended",
    "PlainNetwork",
    "Prediction",
    "SRResNet",
    "make_backbone",
    "register_backbone",
]
