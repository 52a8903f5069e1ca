"""The backbones that come with this package; all but `extended` are also
plain networks with their own tails."""

from .carn import CARN
from .edsr import EDSR
from .extended import Extended
from .fsrcnn import FSRCNN
from .imdn import IMDN
from .rdn import RDN
from .srresnet import SRResNet

__all__ = ["CARN", "EDSR", "FSRCNN", "IMDN", "RDN", "Extended", "SRResNet"]
