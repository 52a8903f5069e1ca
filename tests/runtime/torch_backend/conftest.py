"""Settings of all tests of the torch backend."""

import pytest
import torch


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Random images are the same every time."""
    torch.manual_seed(0)
