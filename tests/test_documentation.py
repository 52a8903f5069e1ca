"""The documents: links lead somewhere, files that they name are there, prose fits 100 columns; the
site builds without warnings and loads nothing from other hosts; the hooks are those of make lint.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
NAMED = re.compile(r"`((?!run/)(?:[a-z_]+/)+[a-z_]+\.(?:py|c|h|md|json|yaml|pth))`")
LOADED = re.compile(r"""<(?:script|link|img|iframe)[^>]*(?:src|href)=["'](?:https?:)?//[^"']+""")
IMPORTED = re.compile(r"""(?:url\(|@import )\s*["']?(?:https?:)?//[^"')]+""")
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@each_page
def test_links_lead_to_files(page: Path) -> None:
    links = [link for link in LINK.findall(page.read_text()) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


@each_page
def test_named_files_are_there(page: Path) -> None:
    heading, lost = "", []
    for line in page.read_text().splitlines():
        if line.startswith("## "):
            heading = re.split(r"[ :]", line[3:])[0]
        for name in NAMED.findall(line):
            places = [ROOT / folder / name for folder in ("", "pcsr", "runtime", heading)]
            if not any(place.exists() for place in places):
                lost.append(name)
    assert lost == []


@each_page
def test_prose_fits_100_columns(page: Path) -> None:
    prose, is_code = [], False
    for number, line in enumerate(page.read_text().splitlines(), 1):
        is_code ^= line.startswith("```")
        if not is_code and not line.startswith(("|", "    ", "#")) and len(line) > 100:
            prose.append(number)
    assert prose == []


def test_decisions_are_short() -> None:
    assert len((ROOT / "docs" / "decisions.md").read_text().split()) < 3000


def test_the_hooks_run_what_make_lint_runs() -> None:
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert recipe is not None
    commands = [line.strip().replace("$(BIN)", ".venv/bin") for line in recipe[1].splitlines()]
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    hooks = [hook for repo in config["repos"] for hook in repo["hooks"]]
    assert [hook["entry"] for hook in hooks] == commands
    assert all(hook["language"] == "system" and not hook["pass_filenames"] for hook in hooks)


def test_the_site_builds_and_stands_alone(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    reference = (tmp_path / "api.html").read_text()
    for name in ("upscaler.Upscaler", "result.Result", "result.Stats"):
        assert f'id="pcsr.runtime.{name}"' in reference
    for name in ("export.exporter.export_bundle", "bundle.Bundle", "images.read", "metrics.psnr"):
        assert f'id="pcsr.{name}"' in reference
    for page in tmp_path.rglob("*.html"):
        assert LOADED.findall(page.read_text()) == []
    for style in tmp_path.rglob("*.css"):
        assert IMPORTED.findall(style.read_text()) == []
