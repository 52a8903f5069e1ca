"""What a model changes in its process is undone: elsewhere it has one of its own."""

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def log_as_before() -> Iterator[None]:
    log = logging.getLogger("pcsr")
    handlers, level = [*log.handlers], log.level
    yield
    log.handlers[:] = handlers
    log.setLevel(level)
