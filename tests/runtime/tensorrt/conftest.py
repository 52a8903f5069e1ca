"""TensorRT-RTX, which builds without a GPU, and bundles to build engines of."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pcsr import Bundle
from pcsr.export.exporter import ExportOptions, export_bundle
from pcsr.runtime.tensorrt.library import Library, load_library
from tests import checkpoints


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
def imdn_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny random IMDN-PCSR, M = 2, x4."""
    folder = tmp_path_factory.mktemp("imdn")
    data = checkpoints.pcsr_checkpoint(checkpoints.pcsr_network("imdn"), "imdn")
    ckpt = checkpoints.save(data, folder / "network.pth")
    return export_bundle(ckpt, folder / "bundle", ExportOptions()).bundle.path


@pytest.fixture(scope="session")
def plain_carn_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny random plain CARN, x4: a tail of pixel shuffles."""
    folder = tmp_path_factory.mktemp("plain-carn")
    ckpt = checkpoints.save(checkpoints.plain_checkpoint("carn"), folder / "network.pth")
    return export_bundle(ckpt, folder / "bundle", ExportOptions()).bundle.path


@pytest.fixture
def plain(plain_bundle: Path, tmp_path: Path) -> Bundle:
    """A bundle of one graph to keep engines in: the quickest to build."""
    return Bundle.load(shutil.copytree(plain_bundle, tmp_path / "plain"))


@pytest.fixture
def carn(carn_like_bundle: Path, tmp_path: Path) -> Bundle:
    """A bundle of four graphs to keep engines in."""
    return Bundle.load(shutil.copytree(carn_like_bundle, tmp_path / "carn"))
