"""Many images, with the engines that people have for that: Ray Data, Daft, Dask.

from pcsr.batch import Upscale  # for Dataset.map_batches
pcsr-upscale carn-pcsr/ photos/ upscaled/ --engine ray
"""

from .storage.manifest import read_manifest
from .upscale import Upscale

__all__ = ["Upscale", "read_manifest"]
