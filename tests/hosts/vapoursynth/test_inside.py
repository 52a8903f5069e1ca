"""Runs the tests of pcsr.vapoursynth in Python 3.12 with the real VapourSynth."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.exports import Exports
from tests.runtime.routing.calibrations import calibrated

from .environment import ROOT, vapoursynth_python

INSIDE = Path(__file__).parent / "inside"
SHIPPED = ROOT / "training" / "checkpoints" / "fsrcnn-pcsr-x4.pth"


@pytest.fixture(scope="session")
def python() -> Path:
    return vapoursynth_python()


@pytest.fixture(scope="session")
def bundles(
    python: Path,  # no bundle is made where it is missing
    exports: Exports,
    three_way_bundle: Path,
    plain_bundle: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, str]:
    shipped = exports.of_file(SHIPPED)
    with_times = calibrated(shipped, tmp_path_factory.mktemp("vapoursynth") / "calibrated")
    paths = {"shipped": shipped, "three": three_way_bundle, "plain": plain_bundle}
    return {name: str(path) for name, path in (paths | {"calibrated": with_times}).items()}


@pytest.mark.parametrize("name", sorted(path.stem for path in INSIDE.glob("test_*.py")))
def test_in_vapoursynth(name: str, python: Path, bundles: dict[str, str]) -> None:
    file = INSIDE / f"{name}.py"
    command = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, f"--confcutdir={INSIDE}", "-rA", str(file)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=os.environ | {"PCSR_TEST_BUNDLES": json.dumps(bundles)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stdout.splitlines()[-1], done.stdout


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="VapourSynth could be installed here")
def test_without_vapoursynth_the_import_says_what_to_install() -> None:
    code = "import pcsr.vapoursynth"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == (
        "ModuleNotFoundError: pcsr.vapoursynth needs VapourSynth and Python 3.12 or newer; run pip "
        "install 'pcsr[vapoursynth]'"
    )
