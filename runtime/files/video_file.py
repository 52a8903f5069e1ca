"""A video file is opened by what is in it; FFmpeg gets its bytes and can open nothing else."""

import errno
import os
import stat
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import av
from av.container import Flags, InputContainer

from pcsr.errors import ImageError

# By their short names. None of them opens a second file, as playlists and scripts do.
_DEMUXERS = ("mov", "matroska", "avi", "mpegts", "mpeg", "mpegvideo", "flv", "asf", "ogg")
_MOST_STREAMS = 100
_GUESS_PTS: Any = Flags.gen_pts.value  # FFmpeg's guess is wrong with B-frames in AVI


class _Bytes:
    """Has what FFmpeg needs of a file, and no name from which a kind could be guessed."""

    def __init__(self, file: BinaryIO) -> None:
        self.read, self.seek, self.tell = file.read, file.seek, file.tell


def open_container(path: Path, opened: ExitStack) -> InputContainer:
    """Opens a video, which `opened` closes.

    Raises:
        ImageError: it is no regular file, or of a kind that is not read.
        OSError: it cannot be read. av.FFmpegError, which may be one, too.
    """
    file = opened.enter_context(os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb"))
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        raise ImageError("it is no regular file; copy the video into one")
    try:
        container = av.open(
            _Bytes(file),
            "r",
            options={
                "format_whitelist": ",".join(_DEMUXERS),
                "protocol_whitelist": "",
                "max_streams": str(_MOST_STREAMS),
                "correct_ts_overflow": "0",  # it takes any step back for 26 hours on
            },
            metadata_errors="replace",
            io_open=_open_nothing,
        )
    except av.FFmpegError as error:
        if not isinstance(error, av.ArgumentError | av.InvalidDataError):
            raise
        raise ImageError(
            "expected a video (MP4, MOV, Matroska, WebM, AVI, MPEG, FLV, ASF, Ogg), found another "
            "kind of file or a damaged one; name a video, or convert it to .mkv"
        ) from error
    opened.callback(container.close)
    container.flags &= ~_GUESS_PTS
    return container


def _open_nothing(url: str, *_: Any) -> NoReturn:  # noqa: ANN401
    raise PermissionError(errno.EPERM, f"it refers to another file ({url!r}), which is not read")
