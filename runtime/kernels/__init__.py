"""The fused passes behind the backbone as Triton kernels: all on the device, never waited for.

One frame: `dense` over all pixels, `route` into lists, `sparse` over each heavier upsampler's list,
`finish`. Between the first two, ADM is `difficulties`, `histogram` and `lloyd`, and a share of
heavy pixels `difficulties` and `select`. What the backbone takes of our own is in `convolutions`.
"""

from .adaptive import difficulties, histogram, lloyd
from .dense import dense
from .finish import finish
from .packed import DeviceAxes, DeviceAxis, PackedMlp, PackedMlps, Window
from .ratio import select
from .route import DeviceRule, Routed, route
from .sparse import sparse
from .table import empty_table

__all__ = [
    "DeviceAxes",
    "DeviceAxis",
    "DeviceRule",
    "PackedMlp",
    "PackedMlps",
    "Routed",
    "Window",
    "dense",
    "difficulties",
    "empty_table",
    "finish",
    "histogram",
    "lloyd",
    "route",
    "select",
    "sparse",
]
