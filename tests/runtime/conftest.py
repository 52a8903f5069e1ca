"""Settings of all tests of the runtime."""

from pathlib import Path
from typing import Any

import pytest

from pcsr import Bundle
from pcsr.runtime import open as opening
from pcsr.runtime.inputs.arguments import whole
from tests.exports import Exports

from .cpu import native

CHECKPOINTS = {"carn": "carn-pcsr", "fsrcnn": "fsrcnn-pcsr", "srresnet": "srresnet-pcsr-random"}


@pytest.fixture(scope="session")
def published_bundles(reference: Path, exports: Exports) -> dict[str, Bundle]:
    """The published checkpoints, exported."""
    folder = reference / "checkpoints"
    return {
        model: Bundle.load(exports.of_file(folder / f"{name}.pth"))
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
    lib.choose_set(index)
    assert native.chosen(ffi, lib) == index
    from pcsr.runtime.cpu import passes as pixels

    monkeypatch.setattr(pixels, "ffi", ffi)
    monkeypatch.setattr(pixels, "lib", lib)
    return name


@pytest.fixture
def tiny_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles of any size, smaller than users may ask for."""
    monkeypatch.setitem(opening.ARGUMENTS, "tile_px", whole("be from 1", 1, optional=True))
