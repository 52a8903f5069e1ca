"""The fused passes behind the backbone as Triton kernels: all on the device, never waited for.

One frame: `dense` over all pixels, `route` into lists, `sparse` over each heavier upsampler's list,
`finish`. Between the first two, ADM is `difficulties`, `histogram` and `lloyd`, and a share of
heavy pixels `difficulties` and `select`. `epilogue` belongs to the backbone: what ends a
convolution; and so do the modules `pointwise` and `grouped`: convolutions of our own.
"""

from .adaptive import difficulties, histogram, lloyd
from .dense import dense
from .epilogue import epilogue
from .finish import finish
from .packed import DeviceAxes, DeviceAxis, PackedMlp, PackedMlps
from .ratio import select
from .route import DeviceRule, Routed, route
from .sparse import sparse
from .table import empty_table
from .window import Window

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
    "epilogue",
    "finish",
    "histogram",
    "lloyd",
    "route",
    "select",
    "sparse",
]
