"""Holds what one call of an `Upscaler` returns."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pcsr.errors import UsageError

from .routing.rule import heavy_count
from .timing import summed_stages


@dataclass(frozen=True)
class Stats:
    """Figures of one call.

    Examples:
        >>> from pcsr import Upscaler
        >>> stats = Upscaler("carn-pcsr/")(photo, heavy_ratio=0.25).stats
        >>> stats.lr_size, stats.hr_size, sum(stats.pixels_per_upsampler)
        ((27, 40), (108, 160), 17280)
        >>> round(stats.heavy_share, 2)
        0.25
    """

    lr_size: tuple[int, int]
    """(height, width) of the input."""
    hr_size: tuple[int, int]
    """(height, width) of the output."""
    pixels_per_upsampler: tuple[int, ...]
    """How many pixels each upsampler made, heaviest first; empty for a plain network."""
    threshold: float | None
    """The difficulty above which pixels are heavy; None where no single threshold decides."""
    stage_ms: Mapping[str, float]
    """Wall milliseconds of each stage in order of execution; docs/benchmarks.md has the names, and
    docs/gpu.md those of a GPU."""
    total_ms: float
    """Wall milliseconds of the call."""
    reused_share: float = 0.0
    """Share in [0, 1] of the output that a sequence took from the frame before."""

    @classmethod
    def timed(cls, reckon: Callable[[], Mapping[str, float]], **figures: Any) -> "Stats":  # noqa: ANN401
        """Makes one of all figures but `stage_ms`, which is what `reckon` gives when it is read."""
        made = cls.__new__(cls)  # without `stage_ms`, so that it is asked for below
        vars(made).update(figures, _reckon=reckon)
        return made

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:  # noqa: ANN401
            if name != "stage_ms" or "_reckon" not in vars(self):
                raise AttributeError(f"'Stats' object has no attribute '{name}'")
            return vars(self).setdefault(name, self._reckon())

    def __getstate__(self) -> dict[str, Any]:
        """Pickles the stage times, not what reckons them."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @property
    def heavy_share(self) -> float:
        """Share in [0, 1] of the pixels that went to the heavier half of the upsamplers."""
        return heavy_share(self.pixels_per_upsampler)


def heavy_share(pixels_per_upsampler: Sequence[int]) -> float:
    """Gives the share in [0, 1] of the heavier half's pixels; 0 without routing."""
    count = heavy_count(len(pixels_per_upsampler))
    return sum(pixels_per_upsampler[:count]) / max(1, sum(pixels_per_upsampler))


@dataclass(frozen=True)
class Result:
    """An upscaled image and how it was routed. The routing is None for a plain network. Of a torch
    tensor all arrays are tensors where that was; of one on a GPU nothing waited for them. Those of
    a batch have an axis of its images in front.

    Examples:
        >>> from pcsr import Upscaler
        >>> result = Upscaler("carn-pcsr/")(photo, k=1.0)
        >>> result.image.shape, result.assignment.shape, result.difficulty.shape
        ((108, 160, 3), (108, 160), (108, 160))
    """

    image: NDArray[Any]
    """[H, W] or [H, W, channels], in the dtype and channels of the input."""
    assignment: NDArray[np.uint8] | None
    """[H, W] uint8, the upsampler of each pixel, 0 = heaviest."""
    difficulty: NDArray[np.float32] | None
    """[H, W] float32 in [0, 1], the probability of the heavier half of the upsamplers."""
    measured: Stats | Callable[[], Stats]
    """The figures, or what waits for the device and returns them; `stats` does that."""
    upsamplers: int = 2
    """M, the number of upsamplers."""

    @cached_property
    def stats(self) -> Stats:
        """Figures of the call. Waits for the device where the image is on one.

        Raises:
            ImageError: the network gave NaN, which is known only now.
        """
        return self.measured if isinstance(self.measured, Stats) else self.measured()

    @property
    def heavy(self) -> NDArray[np.bool_] | None:
        """[H, W] bool: pixels of the heavier half of the upsamplers (M = 2: those of the heavy
        one).
        """
        if self.assignment is None:
            return None
        mask: NDArray[np.bool_] = self.assignment < heavy_count(self.upsamplers)
        return mask

    def save(self, path: Path | str, overwrite: bool = False, quality: int = 95) -> None:
        """Writes the image in the format that the suffix names, as `pcsr.images.write` does: PNG,
        JPEG, TIFF or WebP. The file appears whole or not at all.

        Raises:
            UsageError: an unknown suffix, `quality` out of 1..100, or the result of a batch.
            ImageError: the format cannot hold alpha, or an image of this size.
            OutputError: the file exists and `overwrite` is off, or it cannot be written.
        """
        from pcsr.images import Picture, write

        if self.image.ndim == 4:
            raise UsageError("a batch is saved image by image: pcsr.images.write, or one call each")
        pixels = self.image if isinstance(self.image, np.ndarray) else _as_array(self.image)
        if pixels.ndim == 3 and pixels.shape[2] == 1:
            pixels = pixels[..., 0]
        native = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
        write(Picture(native), Path(path), overwrite, quality)

    def __repr__(self) -> str:
        *count, height, width = self.image.shape[: 3 if self.image.ndim == 4 else 2]
        kind = f"{type(self.image).__name__} of {str(self.image.dtype).removeprefix('torch.')}"
        heavy = ""
        if isinstance(self.measured, Stats) and self.measured.pixels_per_upsampler:
            heavy = f", {self.measured.heavy_share:.1%} heavy"
        batch = "".join(f"{images} images of " for images in count)
        return f"<pcsr.Result: {batch}{width}x{height}, {kind}{heavy}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles the figures, not what waits for them."""
        return Result, (self.image, self.assignment, self.difficulty, self.stats, self.upsamplers)


class FetchedResult(Result):
    """A result whose assignment and difficulty are fetched from a device when they are asked for;
    until then the device keeps them.
    """

    _fetch: Callable[[str], Any]

    @classmethod
    def of(
        cls,
        image: NDArray[Any],
        fetch: Callable[[str], Any],
        measured: Stats | Callable[[], Stats],
        upsamplers: int,
    ) -> "FetchedResult":
        """Makes one; `fetch` gives the array of a field's name."""
        made = cls(image, None, None, measured, upsamplers)
        own = vars(made)
        del own["assignment"], own["difficulty"]  # so that they are asked for below
        own["_fetch"] = fetch
        return made

    @cached_property
    def assignment(self) -> Any:  # noqa: ANN401
        return self._fetch("assignment")

    @cached_property
    def difficulty(self) -> Any:  # noqa: ANN401
        return self._fetch("difficulty")


def batched(
    results: Sequence[Result],
    image: NDArray[Any] | None,
    take: Callable[[tuple[int, ...], Any], NDArray[Any]],
) -> Result:
    """Gives one result of those of the images of a batch.

    Args:
        image: [N, H, W(, channels)], where their images lie already; None: they are tensors.
        take: gives arrays by shape and dtype.
    """

    def stacked(arrays: Sequence[Any]) -> Any:  # noqa: ANN401
        if arrays[0] is None:
            return None
        if isinstance(arrays[0], np.ndarray):
            return np.stack(arrays, out=take((len(arrays), *arrays[0].shape), arrays[0].dtype))
        import torch

        return torch.stack([*arrays])

    def measured() -> Stats:
        return _summed([result.stats for result in results])

    waits = any(callable(result.measured) for result in results)
    return Result(
        stacked([result.image for result in results]) if image is None else image,
        stacked([result.assignment for result in results]),
        stacked([result.difficulty for result in results]),
        measured if waits else measured(),
        results[0].upsamplers,
    )


def _summed(stats: Sequence[Stats]) -> Stats:
    """Adds up the figures of the images of a batch."""
    counts = zip(*(each.pixels_per_upsampler for each in stats), strict=True)
    thresholds = {each.threshold for each in stats}
    return replace(
        stats[0],
        pixels_per_upsampler=tuple(map(sum, counts)),
        threshold=thresholds.pop() if len(thresholds) == 1 else None,
        stage_ms=summed_stages(each.stage_ms for each in stats),
        total_ms=sum(each.total_ms for each in stats),
    )


def with_image(result: Result, image: Any) -> Result:  # noqa: ANN401
    """Gives a result that nobody else has yet with its image as the caller's own object."""
    vars(result)["image"] = image
    return result


def as_tensors(result: Result) -> Result:
    """Gives a result whose NumPy arrays are tensors of PyTorch on the CPU, of the same memory."""
    if not isinstance(result.image, np.ndarray):
        return result
    image = _as_tensor(result.image)
    if not isinstance(result, FetchedResult):
        assignment, difficulty = _as_tensor(result.assignment), _as_tensor(result.difficulty)
        return Result(image, assignment, difficulty, result.measured, result.upsamplers)

    def fetch(name: str) -> Any:  # noqa: ANN401
        return _as_tensor(getattr(result, name))

    return FetchedResult.of(image, fetch, result.measured, result.upsamplers)


def _as_tensor(array: NDArray[Any] | None) -> Any:  # noqa: ANN401
    if array is None:
        return None
    import torch

    with torch.inference_mode(False):  # a caller may write to it when it has left its own
        return torch.from_numpy(array)


def _as_array(tensor: Any) -> NDArray[Any]:  # noqa: ANN401
    found: NDArray[Any] = tensor.cpu().numpy()
    return found
