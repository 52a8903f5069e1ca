"""Settings of all tests of the runtime."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from pcsr import Bundle
from pcsr.export.exporter import ExportOptions, export_bundle

from .cpu import native

CHECKPOINTS = {"carn": "carn-pcsr", "fsrcnn": "fsrcnn-pcsr", "srresnet": "srresnet-pcsr-random"}


@pytest.fixture(scope="module", autouse=True)
def one_pytorch_thread() -> Iterator[None]:
    """Its spinning threads cost tiny networks more than they give, above all on busy machines."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def published_bundles(
    reference: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Bundle]:
    """The published checkpoints, exported."""
    folder = tmp_path_factory.mktemp("published")
    return {
        model: export_bundle(
            reference / "checkpoints" / f"{name}.pth", folder / model, ExportOptions()
        ).bundle
        for model, name in CHECKPOINTS.items()
    }


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
    if index > native.chosen(*native.shipped()):
        pytest.skip(f"this processor has no {name}")
    ffi, lib = request.getfixturevalue("chooser")
    lib.choose(index)
    assert native.chosen(ffi, lib) == index
    from pcsr.runtime.cpu import passes as pixels

    monkeypatch.setattr(pixels, "ffi", ffi)
    monkeypatch.setattr(pixels, "lib", lib)
    return name
