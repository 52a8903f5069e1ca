"""The library as it is installed, its programs, and a process that upscales what it is told to."""

import importlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from pcsr.calibration.precision.calibration import PrecisionOptions, calibrate_precision
from pcsr.images import Picture, write
from pcsr.metrics import bicubic_resize
from pcsr.models.recognition import spandrel_networks
from tests import checkpoints
from tests.exports import Exports
from tests.fuzz import originals

from . import building
from .driver import Driver


@pytest.fixture(scope="session")
def libpcsr() -> Path:
    """The prefix that the library is installed in."""
    return building.installed()


@pytest.fixture(scope="session")
def libpcsr_program() -> Callable[[str], Path]:
    """Gives a compiled program by its name."""
    return building.program


@pytest.fixture(scope="session")
def onnxruntime_library() -> Path:
    """ONNX Runtime's library, of the wheel."""
    return building.onnxruntime_library()


@pytest.fixture(scope="module")
def driver(
    libpcsr_program: Callable[[str], Path],
    onnxruntime_library: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Driver]:
    """A process of the C program."""
    folder = tmp_path_factory.mktemp("driver")
    with Driver(libpcsr_program("driver"), onnxruntime_library, folder) as started:
        yield started


@pytest.fixture(scope="session")
def quantised_bundle(exports: Exports, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny random SRResNet-PCSR with int8 graphs for the CPU."""
    folder = tmp_path_factory.mktemp("int8")
    path = Path(shutil.copytree(exports.of(checkpoints.tiny("srresnet")), folder / "bundle"))
    photos = [folder / "one.png", folder / "two.png"]
    for seed, photo in enumerate(photos):
        coarse = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8)
        write(Picture(bicubic_resize(coarse, 160, 176)), photo)
    calibrate_precision(path, photos, PrecisionOptions(max_psnr_loss_db=3, search_px=32, threads=1))
    return path


@pytest.fixture(scope="session")
def multiple_bundle(exports: Exports) -> Path:
    """A tiny random ESRGAN that takes sides of multiples of 4."""
    if not spandrel_networks.is_installed():  # it also lets spandrel load without torchvision
        pytest.skip(f"spandrel is not installed: {spandrel_networks.HOW_TO_INSTALL}")
    torch.manual_seed(0)
    loader = importlib.import_module("spandrel.architectures.ESRGAN")
    options = {"in_nc": 12, "out_nc": 3, "num_filters": 8, "num_blocks": 1, "scale": 4}
    network = loader.ESRGAN(**options, shuffle_factor=2)
    return exports.of(dict(network.state_dict()))


@pytest.fixture(scope="session")
def valid_bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose `bundles` holds small valid ones."""
    return originals.write(tmp_path_factory.mktemp("verdicts") / "originals")


@pytest.fixture
def copied_bundle(valid_bundles: Path, tmp_path: Path) -> Path:
    """A valid bundle that a test may change."""
    return Path(shutil.copytree(valid_bundles / "bundles" / "fsrcnn", tmp_path / "bundle"))
