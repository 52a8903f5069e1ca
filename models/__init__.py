"""Defines the networks in PyTorch, as readably as can be: backbones, LIIF upsamplers and PCSR."""

from .carn import CARN
from .fsrcnn import FSRCNN
from .imdn import IMDN
from .pcsr import PCSR, Prediction
from .plain import PlainNetwork
from .registry import make_backbone, register_backbone
from .srresnet import SRResNet

__all__ = [
    "CARN",
    "FSRCNN",
    "IMDN",
    "PCSR",
    "PlainNetwork",
    "Prediction",
    "SRResNet",
    "make_backbone",
    "register_backbone",
]
