"""A frame holds the memory of one shape on the device, and the steps from image to image."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pcsr.runtime.geometry.grid import Grid, hr_size
from pcsr.runtime.geometry.tiling import Tile
from pcsr.runtime.layout import Layout
from pcsr.runtime.routing.request import RoutingRequest
from pcsr.runtime.routing.rule import fixed_rule, heavy_count, sigmoid
from pcsr.runtime.timing import Stopwatch

from .bands import FrameBand, make_bands
from .images import DTYPES, converted
from .loaded_bundle import LoadedBundle
from .passes import Decision, FrameInputs, Pixels, StageTimer
from .runners.protocol import DeviceRunner

BAND_PIXELS = 2**26

TakeRows = Callable[[Tensor], None]


@dataclass(frozen=True)
class FrameShape:
    """Holds what makes one frame differ from another in memory and steps."""

    lr_size: tuple[int, int]
    """(height, width) of the input."""
    scale: float
    routing: str
    """`fixed`, `adaptive` or `ratio`."""
    refine: bool
    dtype: torch.dtype
    """The type of the result's values."""


@dataclass(frozen=True)
class DeviceCall:
    """Holds what one call asks for, whatever its image."""

    layout: Layout
    scale: float
    request: RoutingRequest
    timer: Stopwatch

    def shape(self, image: Tensor) -> FrameShape:
        """Gives the shape of the frame that computes an image [h, w(, c)]."""
        request, dtype = self.request, DTYPES[self.layout.working_dtype.name]
        routing = "fixed" if request.heavy_ratio is None else "ratio"
        if request.adaptive:
            routing = "adaptive"
        return FrameShape(size_of(image), self.scale, routing, request.is_refined, dtype)


def size_of(image: Tensor) -> tuple[int, int]:
    """Gives (height, width) of an image [h, w(, c)]."""
    return image.shape[0], image.shape[1]


class Frame:
    """Static memory for one shape, and the steps that fill it.

    `image` is its input, [1, 3, h, w] float32 RGB in [0, 1]; `out` [H, W, 3], `labels` and
    `difficulty` [H, W], `counts` [M - 1] (pixels of each upsampler but the lightest) and `invalid`
    [1] (more than 0 where logits or pixels are not finite) are its results.

    Args:
        tile_px: the side of the backbone's tiles, as `LoadedBundle.encode` takes it.
        keep: whether the results are kept for the whole image; else rows are handed on, band by
            band.
    """

    def __init__(
        self, loaded: LoadedBundle, shape: FrameShape, tile_px: int | None, keep: bool = True
    ) -> None:
        self._loaded, self.shape, self._tile_px = loaded, shape, tile_px
        device = loaded.runner.device
        self._grid = Grid.make(shape.lr_size, shape.scale)
        self._opened = loaded.passes.open(self._grid)
        neighbours = loaded.neighbours
        most = BAND_PIXELS // neighbours  # networks with four have wide maps of features, too
        self._bands = make_bands(self._grid, most, loaded.passes.most_lr_pixels, neighbours)
        height, width = self._grid.hr_size
        most_rows = max(band.seen.stop - band.seen.start for band in self._bands)
        self.image = torch.empty(1, 3, *shape.lr_size, dtype=torch.float32, device=device)
        self._pixels = Pixels.empty(most_rows, width, loaded.count, device)
        self._decision = Decision.empty(shape.routing, loaded.count, device)
        self.counts, self.invalid = self._pixels.counts, self._pixels.invalid
        self._keep = keep
        self._fixed_threshold: float | None = None
        kept = height if keep else max(band.kept.stop - band.kept.start for band in self._bands)
        self.out = torch.empty(kept, width, 3, dtype=shape.dtype, device=device)
        if len(self._bands) > 1:
            self.counts = self.counts.clone().long()
        if keep and len(self._bands) > 1:
            self.labels = torch.zeros(height, width, dtype=torch.uint8, device=device)
            self.difficulty = torch.ones(height, width, dtype=torch.float32, device=device)
        else:
            self.labels = self._pixels.labels.view(-1, width)
            self.difficulty = self._pixels.difficulty.view(-1, width)

    @property
    def capturable(self) -> bool:
        """Tells whether the frame can be recorded: it never waits for the device, and its rows
        stay.
        """
        loaded = self._loaded
        return loaded.runner.capturable and loaded.passes.capturable and self._keep

    def refusal(self) -> str | None:
        """Says why what ran last may not be recorded on the current stream; None where it may."""
        return self._loaded.runner.refusal(self)

    @property
    def threshold(self) -> Tensor | float | None:
        """The difficulty above which a pixel is of the heavier half (ADM: at or above); [1] where
        it is known on the device only, None where there is no single one.
        """
        if self._loaded.count == 1:
            return None
        if self.shape.routing == "adaptive":
            heavy = heavy_count(self._loaded.count)
            return self._decision.bounds[heavy - 1 : heavy]
        is_ratio = self.shape.routing == "ratio"
        return self._decision.cut.sigmoid() if is_ratio else self._fixed_threshold

    def set_request(self, request: RoutingRequest) -> None:
        """Takes over k, or the number of heavy pixels."""
        if request.heavy_ratio is not None:
            self._decision.above.fill_(round(request.heavy_ratio * self._grid.pixels))
        if self.shape.routing != "fixed" or self._loaded.count == 1:
            return
        cost = self._loaded.bundle.manifest.costs.cost_table(self.shape.scale)
        rule = fixed_rule(cost, request.cost_weight)
        if rule.cut is not None:
            self._fixed_threshold = float(sigmoid(rule.cut))
            self._decision.cut.fill_(float(rule.cut))
        else:
            for j, share in enumerate(cost.tolist()):
                self._decision.penalty[j].fill_(request.cost_weight * math.log(share))

    def run(self, stage: StageTimer, take: TakeRows | None = None) -> None:
        """Queues everything from `image` to the results; `take` is given the rows of each band."""
        with stage("backbone"), self._loaded.runner.using(self):
            features = self._loaded.encode(self.image, self._tile_px)
        inputs = FrameInputs(self.image[0], features, self._grid, self._opened)
        if len(self._bands) > 1:
            self.counts.zero_()
        self.invalid.zero_()
        decided = self._decide_ahead(inputs, stage)
        for band in self._bands:
            self._run_band(inputs, band, decided, stage)
            if take is not None:
                take(self.out[: band.kept.stop - band.kept.start])

    def _decide_ahead(self, inputs: FrameInputs, stage: StageTimer) -> bool:
        """Classifies the whole image before its first band is routed, where it has several."""
        shape, loaded = self.shape, self._loaded
        if shape.routing == "fixed" or loaded.count == 1 or len(self._bands) == 1:
            return False
        width = self._grid.hr_size[1]
        parts = []
        for band in self._bands:
            pixels = self._pixels.rows(band.seen.stop - band.seen.start)
            loaded.passes.compose(inputs, band, pixels, stage)
            inner = slice(band.inner.start * width, band.inner.stop * width)
            with stage("routing"):
                parts.append(pixels.logits[:, inner].clone())
        with stage("routing"):
            loaded.passes.decide(torch.cat(parts, 1), self._decision)
        return True

    def _run_band(
        self, inputs: FrameInputs, band: FrameBand, decided: bool, stage: StageTimer
    ) -> None:
        loaded, shape = self._loaded, self.shape
        pixels = self._pixels.rows(band.seen.stop - band.seen.start)
        loaded.passes.compose(inputs, band, pixels, stage)
        if loaded.count > 1:
            with stage("routing"):
                if shape.routing != "fixed" and not decided:
                    loaded.passes.decide(pixels.logits, self._decision)
                loaded.passes.route(pixels, self._decision)
                self._count(band, pixels)
            for j in range(loaded.count - 1):
                with stage(f"upsampler_{j}"):
                    loaded.passes.upsample(j, inputs, band, pixels)
        with stage(loaded.passes.finishing):
            below = heavy_count(loaded.count) if shape.refine and loaded.count > 1 else 0
            rows = band.kept if self._keep else slice(0, band.kept.stop - band.kept.start)
            loaded.passes.finish(inputs, band, pixels, below, self.out[rows])

    def _count(self, band: FrameBand, pixels: Pixels) -> None:
        """Adds up what is counted per band, of the rows that are kept: bands overlap."""
        if len(self._bands) == 1:
            return
        width = self._grid.hr_size[1]
        labels = pixels.labels.view(-1, width)[band.inner]
        for j in range(self._loaded.count - 1):
            self.counts[j] += (labels == j).sum()
        if self._keep:
            self.labels[band.kept] = labels
            self.difficulty[band.kept] = pixels.difficulty.view(-1, width)[band.inner]


class PlainFrame:
    """A frame of a network with its own upsampling tail: it has one graph and no routing.

    tiles: of the input, whose cores cover it once.
    """

    labels = difficulty = threshold = None

    def __init__(self, runner: DeviceRunner, shape: FrameShape, tiles: Sequence[Tile]) -> None:
        self.shape, self._runner, self._tiles = shape, runner, tiles
        device = runner.device
        self.image = torch.empty(1, 3, *shape.lr_size, dtype=torch.float32, device=device)
        size = hr_size(shape.lr_size, shape.scale)
        self.out = torch.empty(*size, 3, dtype=shape.dtype, device=device)
        self.counts = torch.zeros(0, dtype=torch.int64, device=device)
        self.invalid = torch.zeros(1, dtype=torch.int64, device=device)

    @property
    def capturable(self) -> bool:
        return self._runner.capturable

    def refusal(self) -> str | None:
        """Says why what ran last may not be recorded on the current stream; None where it may."""
        return self._runner.refusal(self)

    def set_request(self, request: RoutingRequest) -> None:
        """Does nothing: there is no routing."""

    def run(self, stage: StageTimer, take: TakeRows | None = None) -> None:
        """Queues everything from `image` to `out`."""
        self.invalid.zero_()
        for tile in self._tiles:
            self._run_tile(tile, stage)
        if take is not None:
            take(self.out)

    def _run_tile(self, tile: Tile, stage: StageTimer) -> None:
        is_whole = len(self._tiles) == 1
        with stage("network"), self._runner.using(self):
            crop = self.image if is_whole else self.image[:, :, *tile.crop].contiguous()
            upscaled = self._runner.image(crop)
        with stage("convert"):
            inner = upscaled[0][:, *map(self._enlarged, tile.inner)].permute(1, 2, 0)
            self.invalid += ~inner.sum().isfinite()
            core = self.out[*map(self._enlarged, tile.core)]
            core.copy_(converted(inner, self.out.dtype))

    def _enlarged(self, part: slice) -> slice:
        scale = round(self.shape.scale)
        return slice(part.start * scale, part.stop * scale)


AnyFrame = Frame | PlainFrame
