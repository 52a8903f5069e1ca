"""Matplotlib figures as SVG inside a page: readable on a phone, in the colours of the page."""

import io
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import matplotlib
from cycler import cycler
from markupsafe import Markup
from matplotlib.figure import Figure

from .words import clean

WIDTH_INCHES = 4.6  # 331 units of the drawing: about as many pixels as a phone has for it
INK, FAINT, PAGE = "#010203", "#020304", "#030405"  # stand for colours that the page chooses
# Of middling luminance, to stand out from white and from black; marks and dashes tell the lines
# apart without hue.
_LINES = ["#2878c8", "#c8601e", "#2a8a5a", "#8f62cf", "#c4507f", "#8a7a2a", "#3a8f99", "#7d7d7d"]
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a name may hold dollars
    "axes.unicode_minus": False,
    "font.size": 12.5,
    "font.family": "DejaVu Sans",
    "xtick.labelsize": 12,
    "ytick.labelsize": 12,
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    **dict.fromkeys(["text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color"], INK),
    "ytick.color": INK,
    "axes.prop_cycle": cycler(
        color=_LINES, linestyle=["-", "--", "-.", ":"] * 2, marker=list("os^Dxv+*")
    ),
}


@dataclass(frozen=True)
class Drawing:
    """One figure of the page.

    caption: its heading. kind, facts: what a reader without the picture is told, by what it is
    told of. numbered: whether the facts are listed below. view_box, marks: of its `<svg>`.
    """

    caption: str
    kind: str
    facts: Mapping[str, str]
    numbered: bool
    view_box: str
    marks: Markup


def to_drawing(
    figure: Figure, caption: str, kind: str, facts: Mapping[str, str], numbered: bool = False
) -> Drawing:
    """Writes a figure as SVG. Its kind and facts must be unique in the page, for its ids."""
    file = io.StringIO()
    salt = clean(f"{kind} {facts}")
    with matplotlib.rc_context({"svg.hashsalt": salt}), warnings.catch_warnings():
        # Of letters that matplotlib's own font lacks; the browser draws them with its fonts.
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from", UserWarning)
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(file, format="svg", metadata=nothing)
    # What is behind the root element and its style, which would be the whole page's.
    marks = file.getvalue().partition("</defs>")[2].rpartition("</svg>")[0]
    marks = re.sub(r'<g id="[\w.]+_\d+"', "<g", marks)  # not unique in the page, never referred to
    marks = marks.replace("<use xlink:href", "<use href").replace(INK, "currentColor")
    marks = marks.replace(FAINT, "var(--faint)").replace(PAGE, "var(--page)")
    width, height = 72 * figure.get_size_inches()
    return Drawing(caption, kind, facts, numbered, f"0 0 {width:g} {height:g}", Markup(marks))
