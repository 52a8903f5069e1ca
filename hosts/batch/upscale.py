"""A callable class that upscales a column of images: for Ray Data, Daft and Dask."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from pcsr import images
from pcsr.errors import ImageError, PcsrError, UsageError
from pcsr.images import Picture
from pcsr.images.picture import refuse_large
from pcsr.runtime.files import MAX_PIXELS
from pcsr.runtime.inputs.arguments import checked, shown, text, whole
from pcsr.runtime.result import Stats
from pcsr.runtime.routing.request import RoutingOptions, RoutingRequest
from pcsr.runtime.upscaler import Upscaler

BATCH_PIXELS = 2**24
"""Output pixels after which a batch of results is handed on."""
FIGURES = ("height", "width", "heavy_share", "ms", "error")
"""The columns that come beside the images."""
ARGUMENTS = {
    "column": text("be the name of a column"),
    "encode": text("be a suffix as '.png', or None", optional=True),
    "quality": whole("be from 1 to 100", 1, 100),
    "max_pixels": whole("be at least 1", 1),
}
Columns = Mapping[str, Any]


class Upscale:
    """Upscales the images of batches, which are dictionaries of columns. A bundle is opened once,
    where the class is made: by each worker, of arguments that pickle.

    A batch may have any number of rows: results come in several batches, each ended by 2**24 output
    pixels, so that memory does not grow with it. What is no image becomes a row with an error.

    Examples:
        >>> from pcsr.batch import Upscale
        >>> upscale = Upscale("carn-pcsr/", adaptive=True)
        >>> rows = {"bytes": [Path("photo.png").read_bytes(), b"no image"], "path": ["a", "b"]}
        >>> for batch in upscale(rows):
        ...     print(list(batch))
        ...     print(batch["path"], batch["height"], batch["image"][0].shape)
        ...     print(batch["error"][1])
        ['path', 'image', 'height', 'width', 'heavy_share', 'ms', 'error']
        ['a', 'b'] [108 None] (108, 160, 3)
        cannot read the image: expected PNG, ...

    Args:
        bundle: as `Upscaler` takes it; every worker has to find it there.
        device: as of `Upscaler`; a worker that Ray gave a GPU names it `cuda`.
        precision: as of `Upscaler`.
        backend: as of `Upscaler`.
        threads: as of `Upscaler`; the cores that a worker was given.
        column: the column of images: encoded bytes, as `ray.data.read_binary_files` reads them, or
            arrays [h, w] or [h, w, 1..4], as `read_images` does.
        encode: None gives a column `image` of arrays [H, W] or [H, W, channels] of the same dtype;
            a suffix such as `.png` a column `bytes` of files of that format, which keep the input's
            metadata.
        scale: at least 1; None takes the scale that the network was trained for.
        quality: of JPEG and WebP, 1 to 100.
        max_pixels: limit of an input image.
        on_error: `record` makes a row with a text in `error` of an image that fails, and nothing in
            its other columns; `raise` raises it.
        routing: as a call of `Upscaler` takes it, such as `adaptive=True` or `preset="fast"`.

    Raises:
        UsageError, BundleError, BackendError, EngineError: as `Upscaler`.
    """

    def __init__(
        self,
        bundle: Path | str,
        device: str = "cpu",
        precision: str = "fp32",
        *,
        backend: str = "auto",
        threads: int | None = None,
        column: str = "bytes",
        encode: str | None = None,
        scale: float | None = None,
        quality: int = 95,
        max_pixels: int = MAX_PIXELS,
        on_error: str = "record",
        **routing: Unpack[RoutingOptions],
    ) -> None:
        given = {name: value for name, value in locals().items() if name in ARGUMENTS}
        given = checked(given, ARGUMENTS)
        self._column, self._encode, self._scale = given["column"], given["encode"], scale
        self._quality, self._max_pixels = given["quality"], given["max_pixels"]
        if self._encode is not None and self._encode not in images.SUFFIXES:
            known = " ".join(images.SUFFIXES)
            raise UsageError(f"encode must be one of {known}, found {self._encode!r}")
        if on_error not in ("record", "raise"):
            raise UsageError(f"on_error must be 'record' or 'raise', found {on_error!r}")
        self._raises = on_error == "raise"
        self._upscaler = Upscaler(bundle, device, backend, precision, threads, **routing)
        self._upscaler.completed(scale, RoutingRequest())

    def __call__(self, batch: Columns) -> Iterator[dict[str, Any]]:
        """Upscales a batch; yields batches of its rows in their order, with the other columns as
        they are and those of the results.

        Raises:
            UsageError: there is no such column.
            PcsrError: an image fails, and `on_error` is `raise`.
        """
        if self._column not in batch:
            names = ", ".join(map(str, batch))
            raise UsageError(f"expected a column {self._column!r}, found {names}; name it: column=")
        begun, rows, pixels = 0, list[dict[str, Any]](), 0
        for value in batch[self._column]:
            rows.append(self._row(value))
            pixels += int(rows[-1]["height"] or 0) * int(rows[-1]["width"] or 0)
            if pixels >= BATCH_PIXELS:
                yield self._columns(batch, begun, rows)
                begun, rows, pixels = begun + len(rows), [], 0
        if rows or begun == 0:
            yield self._columns(batch, begun, rows)

    @property
    def _result(self) -> str:
        return "bytes" if self._encode else "image"

    def _row(self, value: Any) -> dict[str, Any]:  # noqa: ANN401
        """Upscales one image, or says in the row why not."""
        try:
            made, stats = self._upscaled(value)
        except (PcsrError, MemoryError) as error:
            if self._raises:
                raise
            said = str(error) or "out of memory; use a smaller image or scale"
            return dict.fromkeys((self._result, *FIGURES)) | {"error": said}
        height, width = stats.hr_size
        figures = (height, width, stats.heavy_share, stats.total_ms, None)
        return {self._result: made, **dict(zip(FIGURES, figures, strict=True))}

    def _upscaled(self, value: Any) -> tuple[Any, Stats]:  # noqa: ANN401
        picture = _picture(value, self._max_pixels)
        if self._encode:
            picture = images.fitted(picture, Path(f"image{self._encode}"))
        result = self._upscaler(picture.pixels, self._scale)
        if not self._encode:
            return result.image, result.stats
        made = picture.with_pixels(result.image)
        return images.write_bytes(made, self._encode, self._quality), result.stats

    def _columns(self, batch: Columns, begun: int, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Gives the rows as columns, of objects: images are ragged, and errors leave gaps."""
        end = begun + len(rows)
        kept = {name: column[begun:end] for name, column in batch.items() if name != self._column}
        for name in (self._result, *FIGURES):
            kept[name] = np.empty(len(rows), object)
            for number, row in enumerate(rows):
                kept[name][number] = row[name]
        return kept


def _picture(value: Any, max_pixels: int) -> Picture:  # noqa: ANN401
    """Decodes encoded bytes, or takes an array as it is."""
    if isinstance(value, bytes | bytearray | memoryview):
        return images.read_bytes(bytes(value), max_pixels)
    if not isinstance(value, np.ndarray):
        raise ImageError(
            f"expected encoded bytes or an array, found {shown(value)}; name another column"
        )
    pixels = value[..., 0] if value.ndim == 3 and value.shape[2] == 1 else value
    picture = Picture(pixels)
    refuse_large((pixels.shape[1], pixels.shape[0]), max_pixels)
    return picture
