"""Runs the tests with the real Triton Inference Server and its clients, in their environment."""

from pathlib import Path

import pytest

from tests.exports import Exports
from tests.hosts.inside import SHIPPED, names_of_tests, python_of, run_tests
from tests.runtime.routing.calibrations import calibrated

INSIDE = Path(__file__).parent / "inside"
OWN_SERVER = ("test_life", "test_load")  # which end servers, and count what one has answered


@pytest.fixture(scope="session")
def python() -> Path:
    return python_of("tritonserver", "Triton Inference Server")


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


@pytest.mark.parametrize("name", OWN_SERVER)
def test_with_a_server_of_their_own(name: str, python: Path, bundles: dict[str, str]) -> None:
    run_tests([INSIDE / f"{name}.py"], python, bundles)


def test_with_one_server(python: Path, bundles: dict[str, str]) -> None:
    names = sorted(set(names_of_tests(INSIDE)) - set(OWN_SERVER))
    run_tests([INSIDE / f"{name}.py" for name in names], python, bundles)
