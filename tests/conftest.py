"""Bundles of tiny random networks, exported once per run; reference data where it is there."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from torch.onnx._internal.exporter._registration import ONNXRegistry

from pcsr.export.exporter import ExportOptions, export_bundle

from . import checkpoints

REFERENCE = Path(__file__).parents[2] / "shared"


@pytest.fixture(scope="session", autouse=True)
def one_operator_table() -> Iterator[None]:
    """PyTorch's table of ONNX operators, made once: torch.onnx.export parses the sources of all of
    them for every graph, which is a third of the time that these small networks take.
    """
    with pytest.MonkeyPatch.context() as patch:
        table = staticmethod(cache(ONNXRegistry.from_torchlib))
        patch.setattr(ONNXRegistry, "from_torchlib", table)
        yield


@pytest.fixture(scope="session")
def reference() -> Path:
    """Published checkpoints and what the published code computed with them; not ours to ship."""
    if not (REFERENCE / "golden").is_dir():
        pytest.skip(f"the reference data is not there ({REFERENCE})")
    return REFERENCE


@pytest.fixture(scope="session")
def carn_like_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny random CARN-PCSR, M = 2, x4."""
    return _export(tmp_path_factory, "carn", 2)


@pytest.fixture(scope="session")
def three_way_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny random FSRCNN-PCSR, M = 3, x4."""
    return _export(tmp_path_factory, "fsrcnn", 3)


@pytest.fixture(scope="session")
def single_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny random SRResNet-PCSR of phase 0, M = 1, x4."""
    return _export(tmp_path_factory, "srresnet", 1)


@pytest.fixture(scope="session")
def plain_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny random plain FSRCNN, x4."""
    folder = tmp_path_factory.mktemp("plain")
    ckpt = checkpoints.save(checkpoints.plain_checkpoint("fsrcnn"), folder / "plain.pth")
    return export_bundle(ckpt, folder / "bundle", ExportOptions()).bundle.path


@pytest.fixture(scope="session")
def pcsr_ckpt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoint file of a tiny random FSRCNN-PCSR, M = 2."""
    network = checkpoints.pcsr_network("fsrcnn")
    data = checkpoints.pcsr_checkpoint(network, "fsrcnn")
    return checkpoints.save(data, tmp_path_factory.mktemp("ckpt") / "fsrcnn-pcsr.pth")


def _export(factory: pytest.TempPathFactory, backbone: str, count: int) -> Path:
    folder = factory.mktemp(f"{backbone}-{count}")
    network = checkpoints.pcsr_network(backbone, count)
    data = checkpoints.pcsr_checkpoint(network, backbone)
    ckpt = checkpoints.save(data, folder / "network.pth")
    return export_bundle(ckpt, folder / "bundle", ExportOptions()).bundle.path
