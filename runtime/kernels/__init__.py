"""The fused passes behind the backbone as Triton kernels: all on the device, never waited for.

One frame is `dense` over all pixels, `route` into lists, `sparse` over each heavier upsampler's
list, and `finish`. Between the first two, ADM is `difficulties`, `histogram` and `lloyd`, and a
share of heavy pixels `difficulties` and `select`. The backbone's kernels are in `convolutions`.
All raise ValueError for a tensor that is not as they say, before anything is launched.
"""

from .adaptive import difficulties, lloyd
from .band_inputs import BandInputs
from .dense import dense
from .finish import finish
from .histogram import histogram
from .packed import PackedMlp, PackedMlps
from .ratio import select
from .route import DeviceRule, RoutingBuffers, route
from .sparse import sparse

__all__ = [
    "BandInputs",
    "DeviceRule",
    "PackedMlp",
    "PackedMlps",
    "RoutingBuffers",
    "dense",
    "difficulties",
    "finish",
    "histogram",
    "lloyd",
    "route",
    "select",
    "sparse",
]
