"""Runs the tests with the real Triton Inference Server and its clients, in their environment."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.exports import Exports
from tests.runtime.routing.calibrations import calibrated

from .environment import ROOT, tritonserver_python

INSIDE = Path(__file__).parent / "inside"
SHIPPED = ROOT / "training" / "checkpoints" / "fsrcnn-pcsr-x4.pth"


@pytest.fixture(scope="session")
def python() -> Path:
    return tritonserver_python()


@pytest.fixture(scope="session")
def bundles(
    python: Path,  # no bundle is made where it is missing
    exports: Exports,
    carn_like_bundle: Path,
    three_way_bundle: Path,
    plain_bundle: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, str]:
    shipped = exports.of_file(SHIPPED)
    with_times = calibrated(shipped, tmp_path_factory.mktemp("tritonserver") / "calibrated")
    paths = {"two": carn_like_bundle, "three": three_way_bundle, "plain": plain_bundle}
    return {name: str(path) for name, path in (paths | {"calibrated": with_times}).items()}


@pytest.mark.parametrize("name", sorted(path.stem for path in INSIDE.glob("test_*.py")))
def test_with_tritonserver(name: str, python: Path, bundles: dict[str, str]) -> None:
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
