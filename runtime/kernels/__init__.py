"""The fused passes behind the backbone as Triton kernels: all on the device, never waited for.

One frame is `first_layers` of the features, `dense` over all pixels, `route` into lists, `sparse`
over each heavier upsampler's list, and `finish`. An upsampler with four neighbours or without a
base is computed by `ensemble` instead. Between the second and the third, ADM is `adaptive_bounds`,
and a share of heavy pixels `ratio_cut`. The backbone's kernels are in `convolutions`.
All raise ValueError for a tensor that is not as they say, before anything is launched.
"""

from .adaptive import adaptive_bounds as adaptive_bounds
from .dense import dense as dense
from .ensemble import ensemble as ensemble
from .finish import finish as finish
from .launch import WIDEST as WIDEST
from .launch import BandInputs as BandInputs
from .packed import PackedMlp as PackedMlp
from .packed import PackedMlps as PackedMlps
from .ratio import ratio_cut as ratio_cut
from .route import DeviceRule as DeviceRule
from .route import RoutingBuffers as RoutingBuffers
from .route import route as route
from .sparse import sparse as sparse
from .tiles import chosen_tiles as chosen_tiles
