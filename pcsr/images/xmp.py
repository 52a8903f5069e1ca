"""XMP and IPTC of an upscaled picture: without what is true of the original file only."""

import re
import struct
from xml.etree import ElementTree

_GOOGLE, _ADOBE = b"http://ns.google.com/photos/1.0/", b"http://ns.adobe.com/"
_STALE = {
    # of motion photos: the video does not come along
    _GOOGLE + b"camera/": rb"(?:MotionPhoto|MicroVideo)\w*",
    _GOOGLE + b"container/": rb"\w+",
    _GOOGLE + b"container/item/": rb"\w+",
    # of gain maps (Ultra HDR, Apple): the map does not either
    _ADOBE + b"hdr-gain-map/1.0/": rb"\w+",
    b"http://ns.apple.com/HDRGainMap/1.0/": rb"\w+",
    # depth maps, panoramas' other images and further XMP lie in the original file
    _GOOGLE + b"depthmap/": rb"\w+",
    _GOOGLE + b"image/": rb"\w+",
    _GOOGLE + b"audio/": rb"\w+",
    b"http://ns.adobe.com/xmp/note/": rb"HasExtendedXMP",
    # what is said of the original's pixels
    b"http://ns.adobe.com/tiff/1.0/": rb"Orientation|ImageWidth|ImageLength",
    b"http://ns.adobe.com/exif/1.0/": rb"PixelXDimension|PixelYDimension|Subject(?:Area|Location)",
    b"http://ns.adobe.com/xap/1.0/": rb"Thumbnails",
}
"""Names that are removed, by name space."""
_PREFIX = re.compile(rb"""xmlns:([\w.-]+)\s*=\s*["']([^"']*)["']""")
_PHOTOSHOP = b"Photoshop 3.0\0"
_THUMBNAILS = (1033, 1036)  # resources of Photoshop


def current_xmp(xmp: bytes) -> bytes | None:
    """Returns XMP without stale properties; None where nothing readable is left."""
    spaces = {prefix: space for prefix, space in _PREFIX.findall(xmp) if space in _STALE}
    if not spaces:
        return xmp
    names = [re.escape(prefix) + b":(?:" + _STALE[space] + b")" for prefix, space in spaces.items()]
    name = b"(?:" + b"|".join(names) + b")"
    left = re.sub(rb"""\s+%b\s*=\s*(?:"[^"]*"|'[^']*')""" % name, b"", xmp)
    left = re.sub(rb"<(%b)(?:\s[^<>]*)?/>" % name, b"", left)
    left = re.sub(rb"<(%b)(?:\s[^<>]*)?>.*?</\1\s*>" % name, b"", left, flags=re.DOTALL)
    if left == xmp:
        return xmp
    for prefix in spaces:
        if not re.search(rb"[\s<]%b:" % re.escape(prefix), left):
            left = re.sub(
                rb"""\s+xmlns:%b\s*=\s*(?:"[^"]*"|'[^']*')""" % re.escape(prefix), b"", left
            )
    return left if _is_xml(left) else None


def current_iptc(iptc: bytes) -> bytes:
    """Returns IPTC, as JPEG holds it among Photoshop's resources, without their thumbnails."""
    if not iptc.startswith(_PHOTOSHOP):
        return iptc
    kept, place = [_PHOTOSHOP], len(_PHOTOSHOP)
    while iptc[place : place + 4] == b"8BIM" and place + 12 <= len(iptc):
        (number,) = struct.unpack_from(">H", iptc, place + 4)
        name = iptc[place + 6] + 1
        data = place + 6 + name + name % 2
        if data + 4 > len(iptc):
            break
        (length,) = struct.unpack_from(">I", iptc, data)
        end = data + 4 + length + length % 2
        if number not in _THUMBNAILS:
            kept.append(iptc[place:end])
        place = end
    return b"".join(kept)


def _is_xml(text: bytes) -> bool:
    try:
        ElementTree.fromstring(text.strip(b"\0"))
    except (ElementTree.ParseError, ValueError, LookupError):
        return False
    return True
