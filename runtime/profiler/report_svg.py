"""A matplotlib figure as SVG inside a page: readable on a phone, in the colours of the page."""

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from pcsr.extras import needs_extra

from .report_html import Html, clean

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH_INCHES = 4.9  # 353 units of the drawing: about as many pixels as a phone has for it
INK, FAINT, PAGE = "#010203", "#020304", "#030405"  # stand for colours that the page chooses
_OF_PAGE = {INK: "currentColor", FAINT: "var(--faint)", PAGE: "var(--page)"}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "pcsr",
    "text.parse_math": False,  # a name may hold dollars
    "axes.unicode_minus": False,
    "font.size": 11.5,
    "font.family": "DejaVu Sans",
    "xtick.labelsize": 11,
    "ytick.labelsize": 11,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "hatch.color": INK,
}


@contextmanager
def drawing() -> Iterator[None]:
    """Around all that draws: the style of the report. BackendError where matplotlib is missing."""
    with needs_extra("--report", "evaluate"):
        import matplotlib
        import matplotlib.figure
    with matplotlib.rc_context(_STYLE):
        yield


def figure(height_inches: float) -> "Figure":
    """An empty figure as wide as a phone."""
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH_INCHES, height_inches), layout="constrained")


def inline(drawn: "Figure", name: str, description: str) -> Html:
    """The figure as an `<svg>` that scales with the page.

    name: unique in the page; ids inside start with it. description: what a reader without the
    picture is told.
    """
    file = io.StringIO()
    with warnings.catch_warnings():
        # Of letters that matplotlib's own font lacks; the browser draws them with its fonts.
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from", UserWarning)
        drawn.savefig(file, format="svg", metadata={"Date": None})
    root = ElementTree.fromstring(re.sub(r"<!DOCTYPE[^>]*>", "", file.getvalue()))
    _to_html(root, name)
    for attribute in ("width", "height", "version"):
        root.attrib.pop(attribute, None)
    root.attrib |= {"role": "img", "aria-label": clean(description)}
    text = ElementTree.tostring(root, encoding="unicode")
    for stand_in, colour in _OF_PAGE.items():
        text = text.replace(stand_in, colour)
    return Html(text)


def _to_html(root: ElementTree.Element, name: str) -> None:
    """Drops namespaces, the document's own style and metadata; gives what is referred to an id of
    its own.
    """
    text = ElementTree.tostring(root, encoding="unicode")
    used = set(re.findall(r"url\(#(\w+)\)", text)) | set(re.findall(r'href="#(\w+)"', text))
    for element in root.iter():
        element.tag = _local(element.tag)
        for child in [c for c in element if _local(c.tag) in ("metadata", "style")]:
            element.remove(child)
        element.attrib = dict(_renamed(element.attrib, name, used))


def _renamed(attributes: dict[str, str], name: str, used: set[str]) -> Iterator[tuple[str, str]]:
    for key, value in attributes.items():
        local = _local(key)
        if local == "id" and value not in used:
            continue
        if local == "id":
            value = f"{name}-{value}"
        elif local == "href":
            value = value.replace("#", f"#{name}-")
        yield local, value.replace("url(#", f"url(#{name}-")


def _local(name: str) -> str:
    return name.rpartition("}")[2]
