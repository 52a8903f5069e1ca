"""The report in a real browser: nothing cut off, nothing too small, nothing fetched."""

import html
import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pcsr.runtime.profiler.report.page import write_report
from pcsr.runtime.profiler.report.routed_image import RoutedImage
from tests.runtime.profiler import made

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="needs Chromium or Chrome on the PATH"),
]

PHONE, TABLET, DESKTOP = 390, 700, 1280
SMALLEST_TEXT = 10  # CSS pixels
# Headless windows are at least 500 px wide, frames are not. A frame from srcdoc has the origin of
# the page around it, which may therefore look inside.
OUTSIDE = """<!DOCTYPE html><html><body><pre id="found"></pre>
<iframe id="page" width="{width}" height="2000" srcdoc="{page}"></iframe>
<script>
document.getElementById("page").onload = (event) => {{
  const frame = event.target.contentWindow, inside = frame.document;
  const texts = [...inside.querySelectorAll("svg text")];
  const box = (element) => element.getBoundingClientRect();
  const outside = (text) => {{
    const t = box(text), s = box(text.ownerSVGElement);
    const across = t.left < s.left - 1 || t.right > s.right + 1;
    return across || t.top < s.top - 1 || t.bottom > s.bottom + 1;
  }};
  const meet = (a, b) => {{
    const p = box(a), q = box(b);
    const across = p.left < q.right - 1 && q.left < p.right - 1;
    return across && p.top < q.bottom - 3 && q.top < p.bottom - 3;
  }};
  const pairs = texts.flatMap((a, i) => texts.slice(i + 1)
    .filter((b) => a.ownerSVGElement === b.ownerSVGElement && meet(a, b)).map((b) => [a, b]));
  const size = (text) => {{
    const turned = text.getScreenCTM();
    return parseFloat(frame.getComputedStyle(text).fontSize) * Math.hypot(turned.a, turned.b);
  }};
  const body = frame.getComputedStyle(inside.body);
  document.getElementById("found").textContent = JSON.stringify({{
    width: frame.innerWidth,
    scroll_width: inside.documentElement.scrollWidth,
    svgs: inside.querySelectorAll("svg").length,
    texts: texts.length,
    smallest: Math.min(...texts.map(size)),
    outside: texts.filter(outside).map((text) => text.textContent),
    overlapping: pairs.map(([a, b]) => a.textContent + " | " + b.textContent),
    wide_tables: [...inside.querySelectorAll(".scroll")]
      .filter((table) => table.scrollWidth > table.clientWidth).length,
    images: [...inside.images].map((image) => image.naturalWidth),
    fetched: frame.performance.getEntriesByType("resource").map((r) => r.name.slice(0, 99))
      .filter((name) => !name.startsWith("data:")),
    ink: body.color, paper: body.backgroundColor,
    inks: [...new Set(texts.map((text) => frame.getComputedStyle(text).fill))],
    mode: inside.compatMode,
  }});
}};
</script></body></html>"""


@dataclass(frozen=True)
class Seen:
    """What a browser says of a page, and what it wrote to its console."""

    found: dict[str, Any]
    console: list[str]


def look(page: str, folder: Path, width: int, dark: bool = False) -> Seen:
    assert BROWSER is not None
    outside = folder / "outside.html"
    outside.write_text(OUTSIDE.format(width=width, page=html.escape(page)), "utf-8")
    command = [
        BROWSER,
        "--headless=new",
        "--disable-gpu",
        *(["--no-sandbox"] if os.geteuid() == 0 else []),
        f"--user-data-dir={folder / 'browser'}",
        "--enable-logging=stderr",
        f"--blink-settings=preferredColorScheme={0 if dark else 1}",
        "--window-size=1400,2000",
        "--dump-dom",
        outside.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    found = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stderr
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return Seen(json.loads(html.unescape(found[1])), console)


def brightness(colour: str) -> float:
    red, green, blue = (int(part) for part in re.findall(r"\d+", colour)[:3])
    return (0.2126 * red + 0.7152 * green + 0.0722 * blue) / 255


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    image = made.picture()
    upscaled = np.kron(image, np.ones((4, 4, 1), np.uint8))
    assignment = np.ones(upscaled.shape[:2], np.uint8)
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_report(
        made.full_profile(), path, RoutedImage(image, upscaled, assignment, (0, 115920), "s")
    )
    return path.read_text("utf-8")


@pytest.mark.parametrize("width", [320, PHONE, TABLET, DESKTOP])
def test_the_page_is_never_wider_than_the_screen(page: str, tmp_path: Path, width: int) -> None:
    seen = look(page, tmp_path, width)
    assert seen.found["width"] == width
    assert seen.found["scroll_width"] <= width
    assert seen.found["outside"] == []
    assert seen.found["overlapping"] == []
    assert seen.found["svgs"] > 8
    assert seen.found["mode"] == "CSS1Compat"
    if width in (PHONE, DESKTOP):  # what does not fit scrolls in its own box
        assert (seen.found["wide_tables"] > 0) == (width == PHONE)


@pytest.mark.parametrize("width", [320, PHONE, TABLET])
def test_drawings_can_be_read_on_a_phone(page: str, tmp_path: Path, width: int) -> None:
    seen = look(page, tmp_path, width)
    assert seen.found["texts"] > 100
    assert seen.found["smallest"] >= SMALLEST_TEXT


def test_long_names_and_far_sizes_fit_the_drawings(tmp_path: Path) -> None:
    cases = [
        replace(made.case(lr_size=(size, size)), name=f"{'n' * 300}, {size}x{size}")
        for size in (20, 2000)
    ]
    write_report(made.profile(*cases), tmp_path / "report.html")
    seen = look((tmp_path / "report.html").read_text("utf-8"), tmp_path, 320)
    assert seen.found["outside"] == []
    assert seen.found["overlapping"] == []


def test_nothing_is_fetched_and_the_console_is_empty(page: str, tmp_path: Path) -> None:
    seen = look(page, tmp_path, DESKTOP)
    assert seen.found["fetched"] == []
    assert seen.console == []
    assert len(seen.found["images"]) == 3
    assert all(seen.found["images"])


def test_the_check_itself_sees_fetches_errors_and_what_sticks_out(tmp_path: Path) -> None:
    bad = """<!DOCTYPE html><html><body><img src="http://127.0.0.1:9/x.png">
    <div style="width: 900px">wide</div>
    <svg width="80" height="80"><text x="60" y="40">too long</text><text x="55" y="44">on</text>
    </svg>
    <script>console.error("wrong")</script></body></html>"""
    seen = look(bad, tmp_path, PHONE)
    assert seen.found["scroll_width"] > PHONE
    assert seen.found["fetched"] == ["http://127.0.0.1:9/x.png"]
    assert seen.found["outside"] == ["too long"]
    assert seen.found["overlapping"] == ["too long | on"]
    assert any("wrong" in line for line in seen.console)


def test_dark_pages_have_light_ink_in_the_drawings_too(page: str, tmp_path: Path) -> None:
    light, dark = (look(page, tmp_path, PHONE, dark).found for dark in (False, True))
    assert brightness(light["paper"]) > 0.9 > 0.2 > brightness(light["ink"])
    assert brightness(dark["ink"]) > 0.8 > 0.2 > brightness(dark["paper"])
    in_bars = {"rgb(0, 0, 0)", "rgb(255, 255, 255)"}
    assert set(dark["inks"]) - in_bars == {dark["ink"]}
    assert set(light["inks"]) - in_bars == {light["ink"]}
