"""TensorRT-RTX, which builds without a GPU, and bundles to build engines of."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pcsr import Bundle
from pcsr.runtime.tensorrt.library import Library, load_library
from tests import checkpoints
from tests.exports import Exports


@pytest.fixture(autouse=True)
def library(monkeypatch: pytest.MonkeyPatch) -> Iterator[Library]:
    """TensorRT-RTX, also where TensorRT is installed beside it."""
    pytest.importorskip(
        "tensorrt_rtx", reason="TensorRT-RTX is not installed", exc_type=ImportError
    )
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    load_library.cache_clear()
    yield load_library()
    load_library.cache_clear()


@pytest.fixture(scope="session")
def imdn_bundle(exports: Exports) -> Path:
    """Tiny random IMDN-PCSR, M = 2, x4."""
    return exports.of(checkpoints.tiny("imdn"))


@pytest.fixture(scope="session")
def plain_carn_bundle(exports: Exports) -> Path:
    """Tiny random plain CARN, x4: a tail of pixel shuffles."""
    return exports.of(checkpoints.plain_checkpoint("carn"))


@pytest.fixture
def plain(plain_bundle: Path, tmp_path: Path) -> Bundle:
    """A bundle of one graph to keep engines in: the quickest to build."""
    return Bundle.load(shutil.copytree(plain_bundle, tmp_path / "plain"))


@pytest.fixture
def carn(carn_like_bundle: Path, tmp_path: Path) -> Bundle:
    """A bundle of four graphs to keep engines in."""
    return Bundle.load(shutil.copytree(carn_like_bundle, tmp_path / "carn"))
