"""The bundles that test_inside.py made, which has PyTorch."""

import json
import os

import pytest

BUNDLES: dict[str, str] = json.loads(os.environ["PCSR_TEST_BUNDLES"])


@pytest.fixture
def shipped() -> str:
    """The FSRCNN-PCSR that this repository ships."""
    return BUNDLES["shipped"]


@pytest.fixture
def three() -> str:
    """A random network with three upsamplers."""
    return BUNDLES["three"]


@pytest.fixture
def plain() -> str:
    return BUNDLES["plain"]


@pytest.fixture
def calibrated() -> str:
    """The shipped one, with presets and a time model."""
    return BUNDLES["calibrated"]
