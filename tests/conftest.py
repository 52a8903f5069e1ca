"""Bundles of tiny random networks; reference data where it is there."""

import gc
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from . import checkpoints
from .exports import Exports, folder_of_run, graphs_made_once

REFERENCE = Path(__file__).parents[2] / "shared"


@pytest.fixture(scope="session", autouse=True)
def rare_collections() -> None:
    """PyTorch's exporter makes so many objects that a fifth of its time is looking for garbage."""
    gc.set_threshold(100_000, 20, 100)


@pytest.fixture(scope="session", autouse=True)
def signals_of_a_terminal() -> None:
    """Shells ignore Ctrl-C for what they start with `&`, nohup SIGHUP; the processes that tests
    start would inherit that.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


@pytest.fixture(scope="session", autouse=True)
def one_pytorch_thread() -> Iterator[None]:
    """One thread here and in the processes that tests start: threads that spin cost tiny networks
    more than they give, above all on busy machines.
    """
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is remembered of this machine is neither the user's nor left to them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def one_export_per_graph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """PyTorch's exporter runs once for each graph of a run."""
    with graphs_made_once(folder_of_run(tmp_path_factory, "graphs")):
        yield


@pytest.fixture(scope="session")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exports]:
    """Bundles that all tests share; none may change one."""
    shared = Exports(folder_of_run(tmp_path_factory, "bundles"))
    yield shared
    shared.verify()


@pytest.fixture(scope="session")
def reference() -> Path:
    """Published checkpoints and what the published code computed with them; not ours to ship."""
    if not (REFERENCE / "golden").is_dir():
        pytest.skip(f"the reference data is not there ({REFERENCE})")
    return REFERENCE


@pytest.fixture(scope="session")
def carn_like_bundle(exports: Exports) -> Path:
    """Tiny random CARN-PCSR, M = 2, x4."""
    return exports.of(checkpoints.tiny("carn", 2))


@pytest.fixture(scope="session")
def three_way_bundle(exports: Exports) -> Path:
    """Tiny random FSRCNN-PCSR, M = 3, x4."""
    return exports.of(checkpoints.tiny("fsrcnn", 3))


@pytest.fixture(scope="session")
def single_bundle(exports: Exports) -> Path:
    """Tiny random SRResNet-PCSR of phase 0, M = 1, x4."""
    return exports.of(checkpoints.tiny("srresnet", 1))


@pytest.fixture(scope="session", params=[1, 2, 3])
def mixed_bundle(exports: Exports, request: pytest.FixtureRequest) -> Path:
    """Tiny random FSRCNN networks, M = 1 to 3, some upsamplers with four neighbours or no base."""
    return exports.of(checkpoints.mixed(request.param))


@pytest.fixture(scope="session")
def liif_bundle(exports: Exports) -> Path:
    """Tiny random EDSR-LIIF, x4."""
    return exports.of(checkpoints.liif_checkpoint())


@pytest.fixture(scope="session")
def plain_bundle(exports: Exports) -> Path:
    """Tiny random plain FSRCNN, x4."""
    return exports.of(checkpoints.plain_checkpoint("fsrcnn"))


@pytest.fixture(scope="session")
def pcsr_ckpt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoint file of a tiny random FSRCNN-PCSR, M = 2."""
    network = checkpoints.pcsr_network("fsrcnn")
    data = checkpoints.pcsr_checkpoint(network, "fsrcnn")
    return checkpoints.save(data, tmp_path_factory.mktemp("ckpt") / "fsrcnn-pcsr.pth")
