"""EXIF of a picture that was turned upright and upscaled: changed in place, so that all offsets,
and what cameras keep to themselves, stay valid.
"""

import struct
from collections.abc import Iterator

_PREFIX = b"Exif\0\0"
_ENTRY = 12  # bytes
_SHORT, _LONG = 3, 4
_WIDTH, _HEIGHT, _ORIENTATION, _EXIF_DIRECTORY = 0x0100, 0x0101, 0x0112, 0x8769
_THUMBNAIL, _THUMBNAIL_BYTES = 0x0201, 0x0202
_PIXEL_WIDTH, _PIXEL_HEIGHT = 0xA002, 0xA003
_PLACES = (0x9214, 0xA214)  # SubjectArea, SubjectLocation: in pixels of the original
_MOST_ENTRIES = 4096


def upright_exif(exif: bytes, size: tuple[int, int]) -> bytes | None:
    """Returns the EXIF (without its prefix) of the upright picture of (height, width): Orientation
    is 1, pixel dimensions are right, the thumbnail and what is told in old pixels is gone.

    None where it is damaged.
    """
    data = bytearray(exif.removeprefix(_PREFIX))
    try:
        return bytes(_Exif(data).upright(size))
    except (struct.error, ValueError):
        return None


def resolution_exif(resolution: tuple[float, float]) -> bytes:
    """Makes an EXIF that states a resolution in pixels per mm (x, y), and no more."""
    tags = [(0x011A, 5, 1, 50), (0x011B, 5, 1, 58), (0x0128, _SHORT, 1, 2)]  # per inch
    directory = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    values = b"".join(struct.pack("<II", round(n * 25400), 1000) for n in resolution)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + directory + bytes(4) + values


class _Exif:
    """Holds the bytes while they are changed. Reading behind the end raises struct.error."""

    def __init__(self, data: bytearray) -> None:
        self._data = data
        order = {b"II": "<", b"MM": ">"}.get(bytes(data[:2]))
        if order is None or len(data) < 8:
            raise ValueError("no TIFF header")
        self._u16, self._u32 = f"{order}H", f"{order}I"

    def upright(self, size: tuple[int, int]) -> bytearray:
        height, width = size
        main = self._number(4)
        for entry, tag in self._entries(main):
            if tag == _ORIENTATION:
                self._set(entry, _SHORT, 1)
            elif tag in (_WIDTH, _HEIGHT):
                self._set(entry, _LONG, width if tag == _WIDTH else height)
        for entry, tag in self._entries(main):
            if tag == _EXIF_DIRECTORY:
                self._change_details(self._number(entry + 8), height, width)
        self._drop_thumbnail(main)
        return self._data

    def _change_details(self, directory: int, height: int, width: int) -> None:
        for entry, tag in self._entries(directory):
            if tag in (_PIXEL_WIDTH, _PIXEL_HEIGHT):
                self._set(entry, _LONG, width if tag == _PIXEL_WIDTH else height)
        for entry, tag in reversed(list(self._entries(directory))):
            if tag in _PLACES:
                self._remove(directory, entry)

    def _drop_thumbnail(self, main: int) -> None:
        link = main + 2 + _ENTRY * self._count(main)
        directory = self._number(link)
        if not directory:
            return
        self._put(self._u32, link, 0)
        found = {tag: self._number(entry + 8) for entry, tag in self._entries(directory)}
        start, length = found.get(_THUMBNAIL, 0), found.get(_THUMBNAIL_BYTES, 0)
        if start and start + length >= len(self._data):
            del self._data[start:]
        elif start:
            self._data[start : start + length] = bytes(length)

    def _entries(self, directory: int) -> Iterator[tuple[int, int]]:
        """Yields place and tag."""
        for number in range(self._count(directory)):
            entry = directory + 2 + _ENTRY * number
            yield entry, struct.unpack_from(self._u16, self._data, entry)[0]

    def _count(self, directory: int) -> int:
        count: int = struct.unpack_from(self._u16, self._data, directory)[0]
        if count > _MOST_ENTRIES:
            raise ValueError("too many tags")
        return count

    def _number(self, place: int) -> int:
        number: int = struct.unpack_from(self._u32, self._data, place)[0]
        return number

    def _set(self, entry: int, kind: int, value: int) -> None:
        self._put(self._u16, entry + 2, kind)
        self._put(self._u32, entry + 4, 1)
        self._put(self._u32, entry + 8, 0)
        self._put(self._u16 if kind == _SHORT else self._u32, entry + 8, value)

    def _remove(self, directory: int, entry: int) -> None:
        count = self._count(directory)
        end = directory + 2 + _ENTRY * count + 4  # behind the link to the next directory
        rest = self._data[entry + _ENTRY : end]
        self._data[entry:end] = rest + bytes(_ENTRY)
        self._put(self._u16, directory, count - 1)

    def _put(self, code: str, place: int, value: int) -> None:
        struct.pack_into(code, self._data, place, value)
