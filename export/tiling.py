"""Decides whether a bundle's images may be cut into exact tiles."""

import onnx

from pcsr.errors import CheckpointError, UsageError, VerificationError
from pcsr.models import PCSR, PlainNetwork
from pcsr.models.checkpoint import Checkpoint

from .graphs.onnx_graph import check_deployable
from .graphs.receptive_field import receptive_field
from .graphs.size_multiples import unpadded

WHOLE_IMAGE = "--whole-image"
NEVER_TILED = (
    "for whole images: they are never cut into tiles, and the memory that they take grows with "
    "their size, without bound"
)


def tiling_radius(
    checkpoint: Checkpoint,
    network: PCSR | PlainNetwork,
    graph: onnx.ModelProto,
    whole_image: bool,
) -> int | None:
    """Returns the manifest's receptive_radius_px; None: images are not cut into tiles.

    Args:
        graph: the float32 graph that takes the image.
        whole_image: whether a plain network is exported for whole images only.

    Raises:
        CheckpointError: a plain network whose receptive field is not bounded, without whole_image;
            or of such a graph that no bundle holds it either way.
        UsageError: whole_image, and the network is none with a tail of its own.
    """
    if isinstance(network, PCSR):
        if whole_image:
            raise UsageError(
                f"{WHOLE_IMAGE} is for plain networks, {checkpoint.path} is PCSR; leave it out"
            )
        return receptive_field(graph).radius_px
    found = None if whole_image else receptive_field(unpadded(graph))
    if found is None or found.radius_px is None:
        try:
            check_deployable(graph.SerializeToString(), "network")
        except VerificationError as error:
            raise CheckpointError(f"{checkpoint.path}: {error}") from error
    if found is None:
        return None
    if found.radius_px is None:
        raise CheckpointError(
            f"{checkpoint.path}: {checkpoint.description.backbone} cannot be cut into exact tiles, "
            f"because {found.obstacles[0]}; pass {WHOLE_IMAGE} to export it for whole images only, "
            "in memory that is not bounded"
        )
    return found.radius_px
