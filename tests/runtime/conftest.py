"""Settings of all tests of the runtime."""

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(scope="module", autouse=True)
def one_pytorch_thread() -> Iterator[None]:
    """Its spinning threads cost tiny networks more than they give, above all on busy machines."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
