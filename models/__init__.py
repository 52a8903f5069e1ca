"""The networks in PyTorch: backbones, LIIF upsamplers and PCSR. The readable definition of what is
exported.
"""

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
