"""A server for the tests of a file. test_inside.py, which has PyTorch, made its bundles."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pcsr import Upscaler

from .client import Client
from .serving import Serving, serving, write_repository

BUNDLES: dict[str, str] = json.loads(os.environ["PCSR_TEST_BUNDLES"])


@pytest.fixture(scope="session")
def bundles() -> dict[str, str]:
    """The paths of bundles by the names of their models.

    two, three: random networks with so many upsamplers; plain: one without routing; calibrated: the
    one that this repository ships, with presets and a time model.
    """
    return BUNDLES


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_repository(BUNDLES, tmp_path_factory.mktemp("serving") / "models")


@pytest.fixture(scope="session")
def server(repository: Path) -> Iterator[Serving]:
    with serving(repository, repository.parent / "log") as running:
        yield running


@pytest.fixture(params=["http", "grpc"])
def client(server: Serving, request: pytest.FixtureRequest) -> Iterator[Client]:
    made = Client(request.param, getattr(server, request.param))
    yield made
    made.close()


@pytest.fixture
def http(server: Serving) -> Iterator[Client]:
    made = Client("http", server.http)
    yield made
    made.close()


@pytest.fixture
def grpc(server: Serving) -> Iterator[Client]:
    made = Client("grpc", server.grpc)
    yield made
    made.close()


@pytest.fixture(scope="session")
def upscalers() -> Iterator[dict[str, Upscaler]]:
    """The same bundles, opened here."""
    opened = {name: Upscaler(path) for name, path in BUNDLES.items()}
    yield opened
    for one in opened.values():
        one.close()
