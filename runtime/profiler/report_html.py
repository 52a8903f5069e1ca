"""Markup whose text is always escaped: elements, tables and figures of the report."""

import html
import re
from collections.abc import Sequence

_EMPTY = ("br", "img", "meta")
_NOT_TEXT = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]+")


class Html(str):
    """Finished markup. Any other string is text, and is escaped where it enters markup."""

    __slots__ = ()


def clean(text: str) -> str:
    """Without what no page may hold: control characters, halves of undecodable file names."""
    return _NOT_TEXT.sub("\N{REPLACEMENT CHARACTER}", text)


def markup(content: str) -> Html:
    """`content` itself where it is markup, else escaped."""
    return content if isinstance(content, Html) else Html(html.escape(clean(content)))


def join(parts: Sequence[str]) -> Html:
    """The parts one after the other."""
    return Html("".join(map(markup, parts)))


def tag(name: str, /, *content: str, **attributes: str | None) -> Html:
    """An element, also well-formed as XML. Names of attributes: `class_` and `aria_label` stand for
    `class` and `aria-label`; those that are None are left out.
    """
    stated = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(clean(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _EMPTY:
        return Html(f"<{name}{stated}/>")
    return Html(f"<{name}{stated}>{join(content)}</{name}>")


def table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> Html:
    """A table in a box that scrolls by itself. The first column names the rows; the others hold
    figures.
    """
    heads = tag("tr", *(tag("th", cell, scope="col") for cell in head))
    body = [
        tag("tr", tag("th", row[0], scope="row"), *(tag("td", cell) for cell in row[1:]))
        for row in rows
    ]
    whole = tag("table", tag("caption", caption), tag("thead", heads), tag("tbody", *body))
    return tag("div", whole, class_="scroll", role="region", aria_label=caption, tabindex="0")


def items(lines: Sequence[str], class_: str | None = None) -> Html:
    """A list without numbers."""
    return tag("ul", *(tag("li", line) for line in lines), class_=class_)


def swatch(colour: str, label: str = "") -> Html:
    """A small square of a colour of a plot; `label` as it is printed in the plot."""
    return tag("span", label, class_="swatch", style=f"background:{colour};color:{ink_on(colour)}")


def bar(share: float) -> Html:
    """A bar in a cell of a table, filled from the left; `share` of 0 to 1."""
    width = 100 * min(max(share, 0.0), 1.0)
    fill = tag("span", style=f"width:{width:.1f}%")
    return tag("span", fill, class_="bar", aria_hidden="true")


def ink_on(colour: str) -> str:
    """Black or white, whichever stands out from `colour` ("#rrggbb")."""
    return "#000000" if luminance(colour) > 0.18 else "#ffffff"


def luminance(colour: str) -> float:
    """Relative luminance of "#rrggbb", 0 to 1."""
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return float(0.2126 * red**2.2 + 0.7152 * green**2.2 + 0.0722 * blue**2.2)
