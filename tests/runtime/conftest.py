"""Settings of all tests of the runtime."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from pcsr.runtime import pixels

from . import native


@pytest.fixture(scope="module", autouse=True)
def one_pytorch_thread() -> Iterator[None]:
    """Its spinning threads cost tiny networks more than they give, above all on busy machines."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def chooser(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """The compiled passes with a choice of instruction set."""
    return native.build(tmp_path_factory.mktemp("native"))


@pytest.fixture(params=["shipped", *native.SETS])
def instructions(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The compiled passes as installed, then for each instruction set that this machine has."""
    name: str = request.param
    if name == "shipped":
        return name
    index = native.SETS.index(name)
    if index > native.chosen():
        pytest.skip(f"this processor has no {name}")
    ffi, lib = request.getfixturevalue("chooser")
    lib.choose(index)
    assert native.chosen(ffi, lib) == index
    monkeypatch.setattr(pixels, "ffi", ffi)
    monkeypatch.setattr(pixels, "lib", lib)
    return name
