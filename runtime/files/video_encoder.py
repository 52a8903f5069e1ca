"""The encoder of a video: which it is, the pixels that it takes, and how it is opened."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import av
import av.logging
from av.codec.codec import Capabilities, Codec, UnknownCodecError
from av.codec.context import CodecContext

from pcsr.errors import BackendError, OutputError
from pcsr.runtime.process.scheduling import scheduling_kept

DEFAULT_CODEC = "libx264"
_DEFAULT_CODECS = {".webm": "libvpx-vp9"}
_DEFAULT_CRF = {"libx264": 17, "libx265": 19, "libvpx-vp9": 24, "libsvtav1": 24, "libaom-av1": 24}
_LARGE = 2**23  # pixels of a frame, just above 3840x2160, of which libx264 holds many by default
_OPTIONS = {
    "libx265": {"x265-params": "log-level=none"},  # it writes to stderr by itself
    "libvpx": {"auto-alt-ref": "0"},  # else it refuses alpha
    "mjpeg": {"strict": "unofficial"},  # else it refuses limited range
}
_ALPHA_IN = {"libvpx": (".mkv", ".webm"), "libvpx-vp9": (".mkv", ".webm"), "libx265": ()}
_ON_DEVICE = Capabilities.hardware | Capabilities.hybrid
_DEPTHS = (8, 10, 12, 16)
_SAMPLING = (("420", 2, 2), ("422", 1, 2), ("444", 1, 1))  # and what (height, width) are multiples
_SEMI_PLANAR = {8: "nv12", 10: "p010le"}  # 4:2:0
_RGB = {
    8: ("rgb24", "bgr24", "bgr0", "gbrp"),
    10: ("gbrp10le",),
    12: ("gbrp12le",),
    16: ("rgb48le", "rgb48be", "gbrp16le", "gbrp16be"),
}
_RGBA = {
    8: ("rgba", "bgra", "argb", "abgr", "gbrap"),
    10: ("gbrap10le",),
    12: ("gbrap12le",),
    16: ("rgba64le", "rgba64be", "gbrap16le", "gbrap16be"),
}


class Pixels(NamedTuple):
    """The pixels that an encoder gets."""

    name: str
    """Of FFmpeg's pixel format."""
    depth: int
    """Bits per sample."""
    alpha: bool


def find_encoder(path: Path, name: str | None) -> Codec:
    """Returns the encoder of this name, or the usual one of the container.

    Raises:
        BackendError: this PyAV has none of that name, or its device is not there.
    """
    name = name or _DEFAULT_CODECS.get(path.suffix.lower(), DEFAULT_CODEC)
    try:
        codec = Codec(name, "w")
    except UnknownCodecError as error:
        raise BackendError(
            f"the installed PyAV has no encoder {name!r}; choose another --codec (libx264, ...)"
        ) from error
    if codec.type != "video":
        raise BackendError(f"--codec {name} encodes {codec.type}, expected one for video (libx264)")
    if codec.capabilities & _ON_DEVICE:
        _try_device(codec.name)
    return codec


def holds_alpha(encoder: Codec, path: Path) -> bool:
    """Tests whether the alpha of an encoder that has it arrives in the container of `path`."""
    places = _ALPHA_IN.get(encoder.name)
    return places is None or path.suffix.lower() in places


def choose_pixels(encoder: Codec, size: tuple[int, int], depth: int, alpha: bool) -> Pixels | None:
    """Chooses what an encoder of frames of `size` (height, width) gets: YUV before RGB.

    With alpha if it can, with at least `depth` bits if it can; None if it takes no such frames.
    """
    known = {form.name for form in encoder.video_formats or []} or {"yuv420p", "yuv444p"}
    depths = sorted(_DEPTHS, key=lambda own: (own < depth, abs(own - depth)))
    for with_alpha in (True, False) if alpha else (False,):
        for family in (_yuv, _rgb):
            for own in depths:
                for name in family(size, own, with_alpha):
                    if name in known:
                        return Pixels(name, own, with_alpha)
    return None


def _yuv(size: tuple[int, int], depth: int, alpha: bool) -> Iterator[str]:
    for sampling, rows, columns in _SAMPLING:
        if not size[0] % rows and not size[1] % columns:
            bits = "" if depth == 8 else f"{depth}le"
            yield f"yuv{'a' * alpha}{sampling}p{bits}"
    if depth in _SEMI_PLANAR and not alpha and not size[0] % 2 and not size[1] % 2:
        yield _SEMI_PLANAR[depth]


def _rgb(_: tuple[int, int], depth: int, alpha: bool) -> Iterator[str]:
    yield from (_RGBA if alpha else _RGB)[depth]


def encoder_options(context: Any, encoder: str, crf: float | None, shown: Path) -> dict[str, str]:  # noqa: ANN401
    """Makes the options of an encoder; raises OutputError where it has no constant rate factor."""
    options = dict(_OPTIONS.get(encoder, {}))
    pixels = context.width * context.height
    if encoder == "libx264" and pixels > _LARGE:
        options["rc-lookahead"] = str(max(5, 40 * _LARGE // pixels))
        options["threads"] = "4"  # as in the lookahead, each holds a frame
    if "crf" in {option.name for option in context.supported_options.private}:
        crf = _DEFAULT_CRF.get(encoder) if crf is None else crf
        return options if crf is None else options | {"crf": f"{crf:g}"}
    if crf is not None:
        raise OutputError(f"cannot write {shown}: {encoder} has no --crf; leave it out")
    return options


def open_encoder(context: Any, encoder: Codec, shown: Path) -> None:  # noqa: ANN401
    """Opens the configured context of an encoder.

    Raises:
        OutputError: it refuses the frames or a setting.
    """

    def refused(reason: str) -> OutputError:
        frames = f"{context.width}x{context.height} frames of {context.pix_fmt}"
        return OutputError(
            f"cannot write {shown}: {encoder.name} refuses {frames} ({reason}); choose another "
            "--codec or --scale"
        )

    if encoder.name == "libsvtav1":
        os.environ.setdefault("SVT_LOG", "1")  # errors only; it writes to stderr by itself
    with _reasons(refused), scheduling_kept():
        context.open()


@cache
def _try_device(name: str) -> None:
    """Raises BackendError unless an encoder can be opened on this machine."""
    codec = Codec(name, "w")
    pixels = choose_pixels(codec, (256, 256), 8, False)
    context: Any = CodecContext.create(codec, "w")
    context.width = context.height = 256
    context.pix_fmt = pixels.name if pixels else "yuv420p"
    context.framerate, context.time_base = Fraction(25), Fraction(1, 25)

    def missing(reason: str) -> BackendError:
        return BackendError(
            f"the encoder {name} cannot be opened on this machine ({reason}); install its "
            "driver, or choose another --codec (libx264, ...)"
        )

    with _reasons(missing), scheduling_kept():
        context.open()


@contextmanager
def _reasons(refused: Callable[[str], Exception]) -> Iterator[None]:
    """Raises `refused` for an error of FFmpeg in the body, with what FFmpeg logs of it.

    The body must not leave threads of FFmpeg that go on: their messages need Python's lock.
    """
    level, skips = av.logging.get_level(), av.logging.get_skip_repeated()
    av.logging.set_level(av.logging.ERROR)
    av.logging.set_skip_repeated(False)
    try:
        with av.logging.Capture(local=False) as lines:
            yield
    except (av.FFmpegError, ValueError) as error:
        logged = [text.strip() for _, _, text in lines if text.strip()]
        reason = logged[0] if logged else getattr(error, "strerror", None) or str(error)
        raise refused(reason.rstrip(".")) from error
    finally:
        av.logging.set_level(level)
        av.logging.set_skip_repeated(skips)
