"""The frames of a picture with alpha: its colours and its alpha are upscaled by themselves."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcsr.runtime.cpu.alpha import bleed_colours
from pcsr.runtime.cpu.upscaler import HostUpscaler
from pcsr.runtime.geometry.grid import hr_size
from pcsr.runtime.layout import Layout

from .calls import Call, Clock
from .made import Made
from .pictures import PictureSequence

Pixels = NDArray[Any]


class AlphaSequence:
    """Computes frames [h, w, 2 or 4], alpha last, as `PictureSequence`."""

    def __init__(self, host: HostUpscaler, within: float) -> None:
        self._colours, self._alpha = PictureSequence(host, within), PictureSequence(host, within)
        self._constant: Pixels | None = None
        self._before: tuple[Made, Pixels, Made] | None = None

    def advance(self, pixels: Pixels, call: Call, clock: Clock) -> tuple[Made, float]:
        """As of `PictureSequence`."""
        before, self._before = self._before, None
        with clock.watch.stage("alpha"):
            layout = Layout.of(pixels)
            layout.check_values(pixels)
            shown = bleed_colours(pixels)
        colours, share = self._colours.advance(shown[..., :-1], call, clock)
        alpha, alpha_share = self._upscaled(pixels[..., -1], call, clock)
        with clock.watch.stage("alpha"):
            if before is not None and before[0] is colours and before[1] is alpha:
                made = before[2]
            else:
                parts = [colours.image, alpha[..., None]]
                image = np.concatenate(parts, axis=2, dtype=layout.dtype)
                arrays = (image, colours.assignment, colours.difficulty)
                made = Made(*arrays, colours.counts, colours.threshold)
        self._before = colours, alpha, made
        return made, min(share, alpha_share)

    def _upscaled(self, alpha: Pixels, call: Call, clock: Clock) -> tuple[Pixels, float]:
        if (alpha == alpha[0, 0]).all():
            return self._filled(hr_size((alpha.shape[0], alpha.shape[1]), call.scale), alpha[0, 0])
        made, share = self._alpha.advance(alpha, call, clock)
        return made.image, share

    def _filled(self, size: tuple[int, int], value: Any) -> tuple[Pixels, float]:  # noqa: ANN401
        """Gives one value, in the same array as before where that holds it."""
        held = self._constant
        is_it = held is not None and held.shape == size and held.dtype == value.dtype
        if held is None or not is_it or held[0, 0].tobytes() != value.tobytes():
            held = self._constant = np.full(size, value, dtype=value.dtype)
        return held, 1.0
