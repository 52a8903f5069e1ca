"""The backbones that come with this package; each is also a plain network with its own tail."""

from .carn import CARN
from .edsr import EDSR
from .fsrcnn import FSRCNN
from .imdn import IMDN
from .rdn import RDN
from .srresnet import SRResNet

__all__ = ["CARN", "EDSR", "FSRCNN", "IMDN", "RDN", "SRResNet"]
