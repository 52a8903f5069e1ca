"""One image or video file is upscaled into another: `pcsr.upscale_file`."""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Unpack

from pcsr.errors import ImageError, UsageError
from pcsr.images import SUFFIXES
from pcsr.runtime.inputs.arguments import checked, flag, number, path, whole
from pcsr.runtime.result import Stats
from pcsr.runtime.routing.request import CallOptions, RoutingRequest
from pcsr.runtime.upscaler import Upscaler

from . import MAX_PIXELS
from .batch import UpscaleOptions, upscale_files
from .jobs import Job
from .video import WRITTEN, VideoStats, is_video

ARGUMENTS = {
    "source": path("be the path of an image or video"),
    "target": path("be the path of the result"),
    "overwrite": flag(),
    "quality": whole("be from 1 to 100", 1, 100),
    "crf": number("be from 0 to 63, or None", lambda crf: 0 <= crf <= 63, optional=True),
    "max_pixels": whole("be at least 1", 1),
}


def upscale_file(
    bundle: Upscaler | Path | str,
    source: Path | str,
    target: Path | str,
    scale: float | None = None,
    k: float | None = None,
    *,
    overwrite: bool = False,
    quality: int = 95,
    codec: str | None = None,
    crf: float | None = None,
    max_pixels: int = MAX_PIXELS,
    **options: Unpack[CallOptions],
) -> Stats | VideoStats:
    """Upscales an image or a video file into another, as pcsr-upscale does; the result appears
    whole or not at all. Its figures are returned.

    Examples:
        >>> from pcsr import upscale_file
        >>> stats = upscale_file("carn-pcsr/", "photo.png", "large.png", adaptive=True)
        >>> stats.hr_size
        (108, 160)

    Args:
        bundle: an open `Upscaler`, or the directory of a bundle, which is opened for this file and
            closed again.
        source: an image (PNG, JPEG, TIFF, WebP) or a video.
        target: its suffix names the format; an existing folder takes a file of the source's name.
        scale: as of a call of `Upscaler`.
        k: as of a call.
        overwrite: whether an existing target is replaced.
        quality: of JPEG and WebP, 1 to 100.
        codec: encoder of a video; None takes the container's usual one.
        crf: rate factor of a video, 0 to 63: smaller is better and larger; None takes the codec's
            usual one.
        max_pixels: limit of an input image or frame; an output may have 16 times as many.
        options: as of a call.

    Raises:
        UsageError: an option out of range, a target of an unknown format, or the source itself.
        ImageError: the source cannot be read, or the format cannot hold the result.
        OutputError: the target exists, or cannot be written.
        BundleError, BackendError: as `Upscaler`; a video needs PyAV.
    """
    values = {"source": source, "target": target, "overwrite": overwrite, "quality": quality}
    given = checked(values | {"crf": crf, "max_pixels": max_pixels}, ARGUMENTS)
    job = _job(Path(source), Path(target))
    how = UpscaleOptions(
        codec=codec,
        crf=given["crf"],
        overwrite=given["overwrite"],
        scale=scale,
        request=RoutingRequest.of({"k": k, **options}),
        quality=given["quality"],
        max_pixels=given["max_pixels"],
    )
    with _opened(bundle) as upscaler, closing(upscale_files(upscaler, [job], how)) as results:
        done = next(results)
    if done.stats is None:
        raise done.error or ImageError(f"{source} was not upscaled")
    return done.stats


@contextmanager
def _opened(bundle: Upscaler | Path | str) -> Iterator[Upscaler]:
    if isinstance(bundle, Upscaler):
        yield bundle
        return
    with Upscaler(bundle) as upscaler:
        yield upscaler


def _job(source: Path, target: Path) -> Job:
    if target.is_dir():
        target = target / source.name
    known = WRITTEN if is_video(source) else SUFFIXES
    if target.suffix.lower() not in known:
        raise UsageError(
            f"cannot write {target}: expected one of {' '.join(known)}; name another file"
        )
    if target.exists() and source.exists() and os.path.samefile(source, target):
        raise UsageError(f"{target} is the source itself; choose another target")
    return Job(source, target)
