"""Runs the tests of pcsr.vapoursynth in Python 3.12 with the real VapourSynth."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.exports import Exports
from tests.hosts.inside import SHIPPED, names_of_tests, python_of, run_tests
from tests.runtime.routing.calibrations import calibrated

INSIDE = Path(__file__).parent / "inside"


@pytest.fixture(scope="session")
def python() -> Path:
    return python_of("vapoursynth", "VapourSynth in Python 3.12")


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


@pytest.mark.parametrize("name", names_of_tests(INSIDE))
def test_in_vapoursynth(name: str, python: Path, bundles: dict[str, str]) -> None:
    run_tests([INSIDE / f"{name}.py"], python, bundles)


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="VapourSynth could be installed here")
def test_without_vapoursynth_the_import_says_what_to_install() -> None:
    code = "import pcsr.vapoursynth"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == (
        "ModuleNotFoundError: pcsr.vapoursynth needs VapourSynth and Python 3.12 or newer; run pip "
        "install 'pcsr[vapoursynth]'"
    )
