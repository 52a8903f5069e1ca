"""The overlay shows the routing map over the picture: which upsampler made each pixel."""

import numpy as np

from pcsr.errors import UsageError
from pcsr.images import Picture

_WHITE = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535, np.dtype(np.float32): 1}
# Heavy to light: red, amber, green. Luminance rises all the way, so the order can be told without
# seeing the hues.
_ANCHORS = np.array([(205, 15, 30), (240, 140, 20), (120, 235, 120)], np.float32)
_BLOCK_PIXELS = 2**18


def draw_overlay(
    image: np.ndarray, assignment: np.ndarray, upsamplers: int, opacity: float = 0.35
) -> np.ndarray:
    """Blends one colour per upsampler over the picture: heavy red, light green, as in the paper.

    Args:
        image: [H,W] grey or [H,W,2..4] (alpha is ignored), uint8, uint16 or float32 (0..1).
        assignment: [H,W] uint8, 0 = heaviest upsampler, `upsamplers` - 1 = lightest.
        upsamplers: M, at least 1.
        opacity: of the colour, 0 (the picture alone) to 1 (the map alone).

    Returns:
        [H,W,3] uint8. Apart from it, memory is independent of the size of the picture.

    Raises:
        ImageError: `image` has another layout or dtype.
        UsageError: `assignment` does not fit the image or M, or `opacity` is out of range.
    """
    Picture(image)  # refuses other layouts
    _check_assignment(assignment, image, upsamplers)
    if not 0 <= opacity <= 1:
        raise UsageError(f"expected an opacity from 0 to 1, found {opacity}")
    tint = class_colours(upsamplers) * np.float32(opacity)
    height, width = assignment.shape
    blended = np.empty((height, width, 3), np.uint8)
    rows = max(1, _BLOCK_PIXELS // width)
    for top in range(0, height, rows):
        part = slice(top, top + rows)
        blended[part] = _blend(image[part], tint[assignment[part]], 255 * (1 - opacity))
    return blended


def class_colours(upsamplers: int) -> np.ndarray:
    """Returns the colour of each upsampler, from heavy to light: [M,3] float32, 0..255."""
    anchors = np.linspace(0, 1, len(_ANCHORS))
    classes = np.linspace(0, 1, upsamplers)
    channels = [np.interp(classes, anchors, channel) for channel in _ANCHORS.T]
    return np.stack(channels, axis=-1).astype(np.float32)


def explain_colours(upsamplers: int) -> str:
    """Says in one line which colour of the overlay stands for which upsampler.

    Examples:
        >>> explain_colours(2)
        'red is upsampler 0 (heaviest), green is upsampler 1 (lightest)'
        >>> explain_colours(4)
        'from red over amber to green: upsampler 0 (heaviest) to 3 (lightest)'
    """
    last = upsamplers - 1
    if upsamplers > 3:
        return f"from red over amber to green: upsampler 0 (heaviest) to {last} (lightest)"
    between = ["amber is upsampler 1"] if upsamplers == 3 else []
    lightest = [f"green is upsampler {last} (lightest)"] if upsamplers > 1 else []
    return ", ".join(["red is upsampler 0 (heaviest)", *between, *lightest])


def _blend(image: np.ndarray, tint: np.ndarray, white: float) -> np.ndarray:
    planes = image[..., None] if image.ndim == 2 else image
    picture = planes[..., :1] if planes.shape[2] < 3 else planes[..., :3]
    dimmed = picture * np.float32(white / _WHITE[image.dtype])
    blended: np.ndarray = np.rint(dimmed.clip(0, white) + tint)
    return blended.astype(np.uint8)


def _check_assignment(assignment: np.ndarray, image: np.ndarray, upsamplers: int) -> None:
    size = image.shape[:2]
    if assignment.shape != size or assignment.dtype != np.uint8:
        raise UsageError(
            f"expected an assignment {list(size)} of uint8 to fit the image, found "
            f"{list(assignment.shape)} of {assignment.dtype}; pass the one of this image"
        )
    if upsamplers < 1 or assignment.max() >= upsamplers:
        raise UsageError(
            f"expected classes below {upsamplers} (upsamplers, at least 1), found "
            f"{assignment.max()}; pass the number of upsamplers of the bundle"
        )
