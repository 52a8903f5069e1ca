"""Wheels from PyPI, by pip."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.environment import ROOT
from pcsr.errors import OutputError

FOLDER = "wheels"
PACKAGES = ("click", "tabulate")  # pure Python: they can be imported from the wheel as it is


def download_wheels(pack: Path) -> list[Path]:
    """Brings the packages that `benchmarks.gpu` needs and a GPU machine may lack, in the versions
    of constraints.txt. Raises OutputError.
    """
    constraints = str(ROOT / "constraints.txt")
    return download(PACKAGES, pack / FOLDER, "--constraint", constraints, "--platform", "any")


def download(requirements: Sequence[str], folder: Path, *options: str) -> list[Path]:
    """Brings one wheel for each requirement, as pip does with these options.

    Raises:
        OutputError: pip did not bring them.
    """
    words = [*("download", "--no-deps", "--only-binary=:all:", "--dest", str(folder)), *options]
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *words]
    done = subprocess.run([*command, *requirements], capture_output=True, text=True, check=False)
    names = [requirement.partition("==")[0] for requirement in requirements]
    wheels = [one for name in names for one in folder.glob(f"{name.replace('-', '_')}-*.whl")]
    if done.returncode or len(wheels) != len(names):
        last = done.stderr.strip().splitlines()[-1:] or [f"{len(wheels)} wheels are there"]
        raise OutputError(
            f"{folder}: pip did not bring one wheel each of {', '.join(requirements)} ({last[0]}); "
            "it needs pip in this Python, and PyPI within reach; remove old wheels there"
        )
    return wheels
