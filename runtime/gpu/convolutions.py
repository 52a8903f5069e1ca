from pcsr.runtime.kernels.grouped import GroupedTile
from pcsr.runtime.kernels.pointwise import PointwiseTile
POINTWISE_TILES = (PointwiseTile(128, 4), PointwiseTile(64, 4), PointwiseTile(128, 8), PointwiseTile(256, 8))
GROUPED_TILES = (GroupedTile(64, 4, 4), GroupedTile(128, 4, 4), GroupedTile(128, 2, 4),  GroupedTile(64, 4, 2),GroupedTile(64, 8, 4), GroupedTile(32, 4, 2))
TAILED_TILES = (GroupedTile(64, 2, 4), GroupedTile(64, 4, 4), GroupedTile(128, 2, 8), GroupedTile(128, 4, 8), GroupedTile(32, 4, 2))
